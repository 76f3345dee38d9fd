# tests/unit/<part>_<what>.c is one Criterion program linked to that part's library alone (and so builds without the
# others); tests/ops/*.c link graph. Label `unit` for the quick loop.
find_library(CRITERION_LIB criterion REQUIRED)

function(leanpo_test src part label)
  get_filename_component(n ${src} NAME_WE)
  add_executable(test_${n} ${src})
  target_link_libraries(test_${n} PRIVATE leanpo_flags ${part} ${CRITERION_LIB})
  # Criterion's own macros are not clean under these.
  target_compile_options(test_${n} PRIVATE -Wno-conversion -Wno-missing-prototypes -Wno-shadow)
  target_compile_definitions(test_${n} PRIVATE TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  add_test(NAME ${label}/${n} COMMAND test_${n} --timeout 300)
  # Criterion 2.4 does not fail a test that leaks.
  set_tests_properties(${label}/${n} PROPERTIES LABELS ${label} TIMEOUT 900
    FAIL_REGULAR_EXPRESSION "LeakSanitizer: detected")
endfunction()

file(GLOB unit_src CONFIGURE_DEPENDS tests/unit/*.c)
foreach(s IN LISTS unit_src)
  get_filename_component(n ${s} NAME_WE)
  string(REGEX MATCH "^[a-z]+" part ${n})
  leanpo_test(${s} ${part} unit)
endforeach()
include(cmake/cuda_shim.cmake)
file(GLOB op_src CONFIGURE_DEPENDS tests/ops/*.c)
foreach(s IN LISTS op_src)
  get_filename_component(n ${s} NAME_WE)
  if(n MATCHES "^gpu_(prep|reduce)$") # stages of their own, not ops of the tape
    leanpo_test(${s} train ops)
  else()
    leanpo_test(${s} graph ops)
  endif()
  if(n MATCHES "^(gpu|opencl|cuda)_")
    set_tests_properties(ops/${n} PROPERTIES LABELS "ops;gpu")
  endif()
  if(n STREQUAL gpu_batch)
    leanpo_cuda_tests(${n} ENVIRONMENT CUDA_SHIM_LT=none)
  elseif(n STREQUAL gpu_attn) # most of its time is the reference's; training runs its backward through the stand-in
    leanpo_cuda_tests(${n} FILTER "*/@(forward|cached)")
  elseif(n MATCHES "^(gpu|cuda)_")
    leanpo_cuda_tests(${n})
  endif()
endforeach()

# Scripts: tests/{cli,golden}/*.sh get the binary as $LEANPO; tests/lint/*.sh the source tree as $1.
foreach(kind cli golden lint)
  file(GLOB scripts CONFIGURE_DEPENDS tests/${kind}/*.sh)
  foreach(s IN LISTS scripts)
    get_filename_component(n ${s} NAME_WE)
    add_test(NAME ${kind}/${n} COMMAND bash ${s} ${CMAKE_SOURCE_DIR})
    set_tests_properties(${kind}/${n} PROPERTIES LABELS ${kind} TIMEOUT 1800 SKIP_RETURN_CODE 77
      ENVIRONMENT "LEANPO=$<$<TARGET_EXISTS:leanpo>:$<TARGET_FILE:leanpo>>;BUILD_DIR=${CMAKE_BINARY_DIR}")
  endforeach()
endforeach()

set_tests_properties(cli/place_opencl cli/place_cuda cli/place_lost PROPERTIES LABELS "cli;gpu")

# tests/fuzz/<part>_<what>.c: libFuzzer entry points. Without clang they run as replay programs over their corpus.
file(GLOB fuzz_src CONFIGURE_DEPENDS tests/fuzz/*_*.c)
foreach(s IN LISTS fuzz_src)
  get_filename_component(n ${s} NAME_WE)
  string(REGEX MATCH "^[a-z]+" part ${n})
  add_executable(fuzz_${n} ${s} tests/fuzz/driver.c)
  target_link_libraries(fuzz_${n} PRIVATE leanpo_flags ${part})
  target_compile_options(fuzz_${n} PRIVATE -Wno-missing-prototypes)
  add_test(NAME fuzz/${n} COMMAND fuzz_${n} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${n})
  set_tests_properties(fuzz/${n} PROPERTIES LABELS fuzz TIMEOUT 600)
endforeach()

if(LEANPO_BENCH)
  # OpenBLAS is the peer of our products, in its openmp flavour: a pthreads one would run a second thread pool on the same cores.
  find_path(OPENBLAS_INC cblas.h PATHS /usr/include/x86_64-linux-gnu/openblas-openmp)
  find_library(OPENBLAS_LIB openblas PATHS /usr/lib/x86_64-linux-gnu/openblas-openmp)
  file(GLOB bench_src CONFIGURE_DEPENDS tests/bench/*.c)
  foreach(s IN LISTS bench_src)
    get_filename_component(n ${s} NAME_WE)
    string(REGEX MATCH "^[a-z]+" part ${n})
    if(part STREQUAL kernels AND NOT (OPENBLAS_INC AND OPENBLAS_LIB))
      message(STATUS "bench_${n}: left out, OpenBLAS (cblas.h) is not installed (scripts/packages install test)")
      continue()
    elseif(NOT TARGET ${part}) # gpu_step: of no part alone
      set(part train)
    endif()
    add_executable(bench_${n} ${s})
    target_link_libraries(bench_${n} PRIVATE leanpo_flags ${part})
    target_compile_options(bench_${n} PRIVATE -Wno-missing-prototypes)
    if(part STREQUAL kernels)
      target_link_libraries(bench_${n} PRIVATE ${OPENBLAS_LIB})
      target_include_directories(bench_${n} SYSTEM PRIVATE ${OPENBLAS_INC})
    endif()
  endforeach()
endif()
