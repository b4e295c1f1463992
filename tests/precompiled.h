// What nearly every test includes; see millrace_precompile().
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmake/precompiled.h"
