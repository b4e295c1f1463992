# What a build contains. Everything beyond the library is off when Millrace is a subproject.
option(MILLRACE_BUILD_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_BUILD_EXAMPLES "Build the examples" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_BUILD_BENCH "Build the benchmarks" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_INSTALL "Generate install rules" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_BUILD_FUZZ "Build the libFuzzer targets (clang only)" OFF)
option(MILLRACE_WARNINGS_AS_ERRORS "Treat warnings as errors" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_PRECOMPILED_HEADERS "Compile through precompiled headers" ${PROJECT_IS_TOP_LEVEL})
option(MILLRACE_GROUP_TESTS "Run the tests of a program in a few processes, not in one each" OFF)
option(MILLRACE_UNITY_BUILD "Compile many of a target's sources at a time, for a build from nothing" OFF)
set(MILLRACE_SANITIZE "" CACHE STRING "Sanitizers, as -fsanitize= takes them: address,undefined or thread")

# Compiles through ccache where it is installed.
find_program(MILLRACE_CCACHE ccache)
mark_as_advanced(MILLRACE_CCACHE)
if(PROJECT_IS_TOP_LEVEL AND MILLRACE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # What ccache must overlook to work with precompiled headers. It takes a file's dependencies from
  # the compiler, who writes them anyhow, where it would run the preprocessor once more; and reads
  # the precompiled headers, 100 MB and more, once and not for every file.
  set(CMAKE_CXX_COMPILER_LAUNCHER env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1
      CCACHE_INODECACHE=1 ${MILLRACE_CCACHE})
endif()
