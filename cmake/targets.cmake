include(GNUInstallDirs)

# Includes are spelled "millrace/graph/node.h" everywhere: the source folders are linked below
# <build>/include/millrace.
set(MILLRACE_INCLUDE_DIR ${PROJECT_BINARY_DIR}/include)
file(MAKE_DIRECTORY ${MILLRACE_INCLUDE_DIR}/millrace)
foreach(folder engine graph jobs)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${MILLRACE_INCLUDE_DIR}/millrace/${folder} SYMBOLIC)
endforeach()

# Flags of our own targets only: a project that adds us as a subproject keeps its own.
add_library(millrace_flags INTERFACE)
target_compile_features(millrace_flags INTERFACE cxx_std_20)
target_compile_options(millrace_flags INTERFACE -Wall -Wextra -Wconversion
                       -Wno-unused-parameter -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(millrace_flags INTERFACE -Wshadow -Wthread-safety -Werror=thread-safety)
else()
  # Plain -Wshadow of g++ also complains about a scoped enumerator named like a constant.
  target_compile_options(millrace_flags INTERFACE -Wshadow=local)
  # g++ 12 sees overruns in std::string and std::vector once it has inlined them (GCC PR 105329,
  # 105651 and others); clang and the sanitizers look at the same code.
  target_compile_options(millrace_flags INTERFACE -Wno-array-bounds -Wno-restrict
                         -Wno-stringop-overflow -Wno-stringop-overread)
endif()
if(MILLRACE_WARNINGS_AS_ERRORS)
  target_compile_options(millrace_flags INTERFACE -Werror)
endif()
find_program(MILLRACE_LLD ld.lld)
mark_as_advanced(MILLRACE_LLD)
if(PROJECT_IS_TOP_LEVEL AND MILLRACE_LLD)
  target_link_options(millrace_flags INTERFACE -fuse-ld=lld)  # programs are large, and many
endif()
if(MILLRACE_SANITIZE)
  target_compile_options(millrace_flags INTERFACE -fsanitize=${MILLRACE_SANITIZE}
                         -fno-omit-frame-pointer)
  target_link_options(millrace_flags INTERFACE -fsanitize=${MILLRACE_SANITIZE})
  if(MILLRACE_SANITIZE MATCHES undefined)
    target_compile_options(millrace_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# Half of a small file's compile time goes into the same few headers, and much of the rest into the
# same templates: a tree that is built from nothing is so in half the time when many sources are one
# (MILLRACE_UNITY_BUILD). So no two sources of a target have a name in common in their unnamed
# namespaces; those of tests are in a namespace of the file's own. Every file still includes what it
# uses: a build as a subproject has neither, nor has clang-tidy's in the nightly run.
#
# millrace_precompile(group header [library...]): makes the group from one header; `library` are
# targets whose definitions it needs. millrace_use_precompiled(target group): compiles with it.
#
# Programs are compiled with little optimisation, tests with none, and both with none and without line
# numbers where there are sanitizers: it takes half of their compile time, and what takes time when
# they run is the library, and the support that plays the guest. Nor does UBSan look at them, another
# quarter of that time; it does at the daemon, which reads what others send. The library stands first
# on their command lines: of an inline function that both sides have, the linker keeps the first.
function(millrace_compile_as target group)
  if(NOT MILLRACE_SANITIZE AND group MATCHES "^(programs|tests)$")
    string(REPLACE tests -O0 level ${group})
    string(REPLACE programs -O1 level ${level})
    target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
    # With -O1, g++ 12 sees that in any copy of a std::optional (GCC PR 80635).
    if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
      target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-Wno-maybe-uninitialized>)
    endif()
  endif()
  if(MILLRACE_SANITIZE AND group MATCHES "^(programs|json|tests)$")
    target_compile_options(${target} PRIVATE -O0 -g0)
    if(MILLRACE_SANITIZE MATCHES undefined AND NOT group STREQUAL json)
      target_compile_options(${target} PRIVATE -fno-sanitize=undefined)
    endif()
  elseif(NOT group STREQUAL tests)
    return()
  endif()
  get_target_property(type ${target} TYPE)
  if(type STREQUAL EXECUTABLE)
    get_property(libraries GLOBAL PROPERTY MILLRACE_LIBRARIES)
    add_dependencies(${target} ${libraries})
    list(TRANSFORM libraries REPLACE "(.+)" "$<TARGET_FILE:\\1>")
    target_link_options(${target} PRIVATE LINKER:--whole-archive ${libraries} LINKER:--no-whole-archive)
  endif()
endfunction()
function(millrace_precompile group header)
  if(MILLRACE_PRECOMPILED_HEADERS)
    set(source ${PROJECT_BINARY_DIR}/millrace_pch_${group}.cc)
    file(CONFIGURE OUTPUT ${source} CONTENT "// Nothing but the header.\n")
    add_library(millrace_pch_${group} OBJECT ${source})
    target_link_libraries(millrace_pch_${group} PRIVATE millrace_flags ${ARGN})
    target_precompile_headers(millrace_pch_${group} PRIVATE ${header})
    millrace_compile_as(millrace_pch_${group} ${group})
  endif()
endfunction()
function(millrace_use_precompiled target group)
  millrace_compile_as(${target} ${group})
  if(MILLRACE_UNITY_BUILD)
    # Tests are small, and many.
    set(batch 16)
    if(group STREQUAL tests)
      set(batch 32)
    endif()
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${batch})
  endif()
  if(MILLRACE_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} REUSE_FROM millrace_pch_${group})
  endif()
endfunction()

millrace_precompile(library ${PROJECT_SOURCE_DIR}/cmake/precompiled.h absl::status absl::statusor
                    absl::any_invocable absl::function_ref absl::btree absl::span
                    absl::inlined_vector)
if(MILLRACE_PRECOMPILED_HEADERS)
  set_target_properties(millrace_pch_library PROPERTIES POSITION_INDEPENDENT_CODE ON)
endif()

# millrace_naming_mutants(list source...): those of the sources in which a race can be put back
# (engine/base/mutant.h), which examples/race_gallery compiles once more.
function(millrace_naming_mutants list)
  # A new mutant changes its header, and perhaps the list.
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
               ${PROJECT_SOURCE_DIR}/engine/base/mutant.h)
  set(found)
  foreach(source ${ARGN})
    file(STRINGS ${source} names_a_mutant REGEX "engine/base/mutant\\.h" LIMIT_COUNT 1)
    if(names_a_mutant)
      list(APPEND found ${source})
    endif()
  endforeach()
  set(${list} ${found} PARENT_SCOPE)
endfunction()

# millrace_library(name [FOLDER folder] DEPENDS public... PRIVATE private...): every .cc below the
# folder, <name>/ if none is given; engine/explore is a library of its own.
#
# Public dependencies are Abseil's targets and our own libraries. A private one is a pair
# TARGET=library: we build with the target; who links our installed archive gets -llibrary, and so
# needs neither that package's headers nor its CMake files.
function(millrace_library name)
  cmake_parse_arguments(ARG "" "FOLDER" "DEPENDS;PRIVATE" ${ARGN})
  if(NOT ARG_FOLDER)
    set(ARG_FOLDER ${name})
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${ARG_FOLDER}/*.cc)
  if(name STREQUAL engine)
    list(FILTER sources EXCLUDE REGEX "/engine/explore/")
  endif()
  add_library(millrace_${name} STATIC ${sources})
  add_library(millrace::${name} ALIAS millrace_${name})
  set_target_properties(millrace_${name} PROPERTIES EXPORT_NAME ${name} POSITION_INDEPENDENT_CODE ON)
  target_compile_features(millrace_${name} PUBLIC cxx_std_20)
  target_include_directories(millrace_${name} PUBLIC $<BUILD_INTERFACE:${MILLRACE_INCLUDE_DIR}>
                             $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  target_link_libraries(millrace_${name} PUBLIC ${ARG_DEPENDS}
                        PRIVATE $<BUILD_INTERFACE:millrace_flags>)
  millrace_use_precompiled(millrace_${name} library)
  # Sources that name mutants are put together with their like, so that the gallery can be linked with
  # the others.
  millrace_naming_mutants(compiled_twice ${sources})
  list(REMOVE_ITEM sources ${compiled_twice})
  set_target_properties(millrace_${name} PROPERTIES UNITY_BUILD_MODE GROUP)
  foreach(kind sources compiled_twice)
    set(index 0)
    foreach(source ${${kind}})
      math(EXPR batch "${index} / 16")
      math(EXPR index "${index} + 1")
      set_source_files_properties(${source} PROPERTIES UNITY_GROUP ${kind}_${batch})
    endforeach()
  endforeach()
  foreach(dependency ${ARG_PRIVATE})
    string(REGEX MATCH "^([^=]+)=(.+)$" pair ${dependency})
    target_link_libraries(millrace_${name} PRIVATE $<BUILD_INTERFACE:${CMAKE_MATCH_1}>
                          $<INSTALL_INTERFACE:${CMAKE_MATCH_2}>)
    set_property(GLOBAL APPEND PROPERTY MILLRACE_PRIVATE_LIBRARIES ${CMAKE_MATCH_2})
  endforeach()
  set_property(GLOBAL APPEND PROPERTY MILLRACE_PUBLIC_DEPENDENCIES ${ARG_DEPENDS})
  set_property(GLOBAL APPEND PROPERTY MILLRACE_LIBRARIES millrace_${name})
endfunction()
