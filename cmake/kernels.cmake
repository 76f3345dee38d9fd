# leanpo-kernels.xclbin: hls/ as a container for the software card, in the folder that gets installed with it.
add_executable(leanpo_container sim/container.c)
set_target_properties(leanpo_container PROPERTIES OUTPUT_NAME leanpo-container)
target_link_libraries(leanpo_container PRIVATE leanpo_flags xclbin hls kernels)
file(GLOB kernel_parts CONFIGURE_DEPENDS hls/*.h hls/*.c hls/*.def hls/*/*.h hls/*/*.c kernels/*.h)
if(NOT LEANPO_SANITIZE)
  add_custom_command(OUTPUT ${LEANPO_SIM}/leanpo-kernels.xclbin
    COMMAND ${CMAKE_COMMAND} -E env CC=${CMAKE_C_COMPILER} LEANPO_SIM=${LEANPO_SIM} $<TARGET_FILE:leanpo_container>
      ${CMAKE_SOURCE_DIR} ${LEANPO_SIM}/leanpo-kernels.xclbin
    DEPENDS leanpo_container ${kernel_parts} ${CMAKE_SOURCE_DIR}/sim/include/card_kernel.h
    COMMENT "hls/ -> leanpo-kernels.xclbin" VERBATIM)
  add_custom_target(leanpo_kernels ALL DEPENDS ${LEANPO_SIM}/leanpo-kernels.xclbin)
endif()
