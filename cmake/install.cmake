# libleanpo.so, its headers, pkg-config and CMake package, the binary, man page and shell completion.
include(GNUInstallDirs)
file(WRITE ${CMAKE_BINARY_DIR}/empty.c "typedef int leanpo_shared_library;\n")
add_library(leanpo_shared SHARED ${CMAKE_BINARY_DIR}/empty.c)
set_target_properties(leanpo_shared PROPERTIES OUTPUT_NAME leanpo VERSION ${PROJECT_VERSION} SOVERSION 0)
target_link_options(leanpo_shared PRIVATE -Wl,-z,defs)
foreach(part IN LISTS parts)
  list(APPEND archives $<TARGET_FILE:${part}>)
  add_dependencies(leanpo_shared ${part})
endforeach()
target_link_libraries(leanpo_shared PRIVATE leanpo_flags -Wl,--whole-archive ${archives} -Wl,--no-whole-archive
  PkgConfig::AV PkgConfig::JANSSON PkgConfig::XXHASH PkgConfig::PCRE2 PkgConfig::UTF8PROC OpenMP::OpenMP_C
  Threads::Threads ${CMAKE_DL_LIBS} m)

configure_file(cmake/leanpo.pc.in leanpo.pc @ONLY)
configure_file(cmake/leanpo-config.cmake.in leanpo-config.cmake @ONLY)
include(CMakePackageConfigHelpers)
write_basic_package_version_file(leanpo-config-version.cmake COMPATIBILITY SameMinorVersion)

install(TARGETS leanpo_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET leanpo)
  install(TARGETS leanpo RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY host/include/leanpo DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${CMAKE_BINARY_DIR}/leanpo.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_BINARY_DIR}/leanpo-config.cmake ${CMAKE_BINARY_DIR}/leanpo-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/leanpo)
install(FILES docs/leanpo.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES scripts/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME leanpo)
