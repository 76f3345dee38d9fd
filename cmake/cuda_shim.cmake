# tests/cuda_shim: a stand-in for libcuda and libcublasLt over OpenCL, one library under both names in a folder of its own. Only a search
# path that names the folder loads it: the tests below set one, nothing else does.
file(GLOB shim_src CONFIGURE_DEPENDS tests/cuda_shim/*.c)
if(OPENCL_INCLUDE)
  set(shim_dir ${CMAKE_BINARY_DIR}/cuda_shim)
  add_library(cuda_shim SHARED ${shim_src})
  target_link_libraries(cuda_shim PRIVATE leanpo_flags device)
  target_include_directories(cuda_shim SYSTEM PRIVATE ${OPENCL_INCLUDE})
  # Not what the sanitizers are for, and its products are slow enough.
  set_source_files_properties(${shim_src} PROPERTIES COMPILE_OPTIONS "-O3;-fno-sanitize=all")
  target_link_options(cuda_shim PRIVATE -Wl,--exclude-libs,ALL)
  set_target_properties(cuda_shim PROPERTIES OUTPUT_NAME cuda SOVERSION 1 LIBRARY_OUTPUT_DIRECTORY ${shim_dir})
  add_custom_command(TARGET cuda_shim POST_BUILD COMMAND ${CMAKE_COMMAND} -E create_symlink libcuda.so.1 ${shim_dir}/libcublasLt.so.13)
endif()

# The cases of one program once more: on a real cuda device, where one is, and through the stand-in (with ENVIRONMENT, and only the cases
# that match FILTER).
function(leanpo_cuda_tests program)
  cmake_parse_arguments(A "" "ENVIRONMENT;FILTER" "" ${ARGN})
  if(NOT A_FILTER)
    set(A_FILTER "*")
  endif()
  set(names ops/${program}_cuda)
  add_test(NAME ops/${program}_cuda COMMAND test_${program} --timeout 300)
  set_tests_properties(ops/${program}_cuda PROPERTIES ENVIRONMENT "LPO_TEST_GPU=cuda")
  if(TARGET cuda_shim)
    add_dependencies(test_${program} cuda_shim)
    list(APPEND names ops/${program}_standin)
    add_test(NAME ops/${program}_standin COMMAND test_${program} --timeout 300 --filter ${A_FILTER})
    set_tests_properties(ops/${program}_standin PROPERTIES
      ENVIRONMENT "LPO_TEST_GPU=cuda;LD_LIBRARY_PATH=${shim_dir}:$ENV{LD_LIBRARY_PATH};${A_ENVIRONMENT}")
  endif()
  set_tests_properties(${names} PROPERTIES TIMEOUT 900 LABELS "ops;gpu" FAIL_REGULAR_EXPRESSION "LeakSanitizer: detected")
endfunction()
