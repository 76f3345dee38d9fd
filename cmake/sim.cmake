# The software card. Its folder in the build tree is the one that gets installed:
# include/ (headers of kernels), bin/leanpo-card, xrt/lib/libxrt_swemu.so.2 (when Debian's XRT is here), env/.
set(LEANPO_SIM ${CMAKE_BINARY_DIR}/sim)
include(GNUInstallDirs)
target_compile_definitions(xclbin PRIVATE LEANPO_SIM_BUILD="${LEANPO_SIM}" LEANPO_SIM_INSTALLED="${CMAKE_INSTALL_LIBDIR}/leanpo/sim")
foreach(h card_kernel.h hls_stream.h)
  configure_file(sim/include/${h} ${LEANPO_SIM}/include/${h} COPYONLY)
endforeach()
install(DIRECTORY ${LEANPO_SIM}/include DESTINATION ${CMAKE_INSTALL_LIBDIR}/leanpo/sim)
