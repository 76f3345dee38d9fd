# hls/: the FPGA kernels. Compiled twice, as C11 (library `hls`) and as C++14 (library `hls_cxx`, whose tests are the same):
# the tools' front end may take either. tests/emu/hls_*.c are Criterion programs of both, label `emu`.
file(GLOB hls_host_src CONFIGURE_DEPENDS hls/*.c hls/*/launch.c)
file(GLOB hls_src CONFIGURE_DEPENDS hls/*/*.c)
file(GLOB hls_not_a_kernel CONFIGURE_DEPENDS hls/check/*.c hls/*/launch.c)
list(REMOVE_ITEM hls_src ${hls_not_a_kernel}) # by name: a pattern would match the clone's own path too

add_library(hls_host OBJECT ${hls_host_src})
target_link_libraries(hls_host PRIVATE leanpo_flags)
add_library(hls STATIC ${hls_src} $<TARGET_OBJECTS:hls_host>)
target_link_libraries(hls PRIVATE leanpo_flags)
target_compile_options(hls PRIVATE -Wno-unknown-pragmas)

# hls-check: may a kernel go to Vitis? It runs clang, and says so where there is none.
file(GLOB hls_check_src CONFIGURE_DEPENDS hls/check/*.c)
add_executable(hls_check ${hls_check_src})
set_target_properties(hls_check PROPERTIES OUTPUT_NAME hls-check)
target_link_libraries(hls_check PRIVATE leanpo_flags PkgConfig::JANSSON)

if(LEANPO_TESTS) # the C++ twin needs g++, which a plain build does not
  add_library(hls_kernels_cxx OBJECT ${hls_src})
  set_property(TARGET hls_kernels_cxx PROPERTY C_STANDARD) # unset: the standard is the next line's
  set_target_properties(hls_kernels_cxx PROPERTIES C_EXTENSIONS ON)
  target_compile_options(hls_kernels_cxx PRIVATE -x c++ -std=c++14 -fno-exceptions -fno-rtti -Wall -Wextra -Wconversion
    -Wno-sign-conversion -Wshadow -Wvla -Werror -Wno-unknown-pragmas -ffp-contract=off -fvisibility=hidden)
  target_include_directories(hls_kernels_cxx PRIVATE ${CMAKE_SOURCE_DIR})
  if(LEANPO_SANITIZE)
    target_compile_options(hls_kernels_cxx PRIVATE -fsanitize=${LEANPO_SANITIZE} -fno-omit-frame-pointer)
  endif()

  add_library(hls_cxx STATIC $<TARGET_OBJECTS:hls_kernels_cxx> $<TARGET_OBJECTS:hls_host>)
  set_target_properties(hls_cxx PROPERTIES LINKER_LANGUAGE C)

  enable_testing()
  find_library(CRITERION_LIB criterion REQUIRED)
  file(GLOB hls_tests CONFIGURE_DEPENDS tests/emu/hls_*.c)
  foreach(s IN LISTS hls_tests)
    foreach(lib hls hls_cxx)
      get_filename_component(n ${s} NAME_WE)
      string(REPLACE hls ${lib} n ${n})
      add_executable(test_${n} ${s})
      target_link_libraries(test_${n} PRIVATE leanpo_flags ${lib} kernels align ${CRITERION_LIB})
      target_compile_options(test_${n} PRIVATE -Wno-conversion -Wno-missing-prototypes -Wno-shadow -Wno-unknown-pragmas)
      target_compile_definitions(test_${n} PRIVATE HLS_DIR="${CMAKE_SOURCE_DIR}/hls")
      add_test(NAME emu/${n} COMMAND test_${n} --timeout 300)
      set_tests_properties(emu/${n} PROPERTIES LABELS emu TIMEOUT 900 FAIL_REGULAR_EXPRESSION "LeakSanitizer: detected")
    endforeach()
  endforeach()
endif()
