# cmake --install: archives, public headers, find_package(millrace) and pkg-config.
if(NOT MILLRACE_INSTALL)
  return()
endif()
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY MILLRACE_LIBRARIES)
install(TARGETS ${libraries} EXPORT millrace_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/millrace)
install(EXPORT millrace_targets FILE millrace-targets.cmake NAMESPACE millrace::
        DESTINATION ${package_folder})

# A header that says "Internal; not installed." in its opening comment stays at home.
foreach(folder engine graph jobs)
  file(GLOB_RECURSE headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
       ${PROJECT_SOURCE_DIR}/${folder}/*.h)
  foreach(header ${headers})
    file(READ ${PROJECT_SOURCE_DIR}/${header} text LIMIT 4096)
    string(REPLACE "\n//" "" text "${text}")
    if(NOT text MATCHES "Internal; not installed\\.")
      get_filename_component(header_folder ${header} DIRECTORY)
      install(FILES ${PROJECT_SOURCE_DIR}/${header}
              DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/millrace/${header_folder})
    endif()
  endforeach()
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/millrace-config.cmake.in
                              ${PROJECT_BINARY_DIR}/millrace-config.cmake
                              INSTALL_DESTINATION ${package_folder})
# Before 1.0 a new minor version may break the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/millrace-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/millrace-config.cmake
              ${PROJECT_BINARY_DIR}/millrace-config-version.cmake
        DESTINATION ${package_folder})

# pkg-config. The archives come in reverse order of their making: users before what they use. The
# explorer has a file of its own: a program that runs jobs does not link it.
list(REMOVE_ITEM libraries millrace_explore)
list(TRANSFORM libraries PREPEND -l)
list(REVERSE libraries)
get_property(private_libraries GLOBAL PROPERTY MILLRACE_PRIVATE_LIBRARIES)
list(TRANSFORM private_libraries PREPEND -l)
list(JOIN libraries " " PKG_CONFIG_LIBRARIES)
list(JOIN private_libraries " " PKG_CONFIG_PRIVATE_LIBRARIES)
get_property(abseil GLOBAL PROPERTY MILLRACE_PUBLIC_DEPENDENCIES)
list(FILTER abseil INCLUDE REGEX "^absl::")
list(REMOVE_DUPLICATES abseil)
list(TRANSFORM abseil REPLACE "^absl::" "absl_")
list(JOIN abseil " " PKG_CONFIG_ABSEIL)
foreach(package millrace millrace-explore)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/${package}.pc.in ${PROJECT_BINARY_DIR}/${package}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${package}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
