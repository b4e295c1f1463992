// The main() of all programs of GoogleTest's.
#include <gtest/gtest.h>

#include "millrace/engine/explore/child_process.h"

int main(int argc, char** argv) {
  millrace::KeepFreedMemory();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
