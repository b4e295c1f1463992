// What nearly every test includes; see millrace_precompile().
#ifndef MILLRACE_TESTS_PRECOMPILED_H_
#define MILLRACE_TESTS_PRECOMPILED_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cmake/precompiled_users.h"

#endif  // MILLRACE_TESTS_PRECOMPILED_H_
