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

# tests/emu/fpga_*.c: the stages placed on csim and on the card, Criterion programs over the whole library.
if(LEANPO_TESTS)
  file(GLOB fpga_tests CONFIGURE_DEPENDS tests/emu/fpga_*.c)
  foreach(s IN LISTS fpga_tests)
    get_filename_component(n ${s} NAME_WE)
    add_executable(test_${n} ${s})
    target_link_libraries(test_${n} PRIVATE leanpo_flags train ${CRITERION_LIB})
    target_compile_options(test_${n} PRIVATE -Wno-conversion -Wno-missing-prototypes -Wno-shadow)
    add_test(NAME emu/${n} COMMAND test_${n} --timeout 300)
    set_tests_properties(emu/${n} PROPERTIES LABELS emu TIMEOUT 900 FAIL_REGULAR_EXPRESSION "LeakSanitizer: detected")
  endforeach()
endif()
