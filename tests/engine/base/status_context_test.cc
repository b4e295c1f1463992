#include "millrace/engine/base/status_context.h"

#include <gtest/gtest.h>

#include "absl/strings/cord.h"

namespace millrace::status_context_test {
namespace {

TEST(StatusContext, KeepsCodeAndPayloads) {
  absl::Status status = absl::NotFoundError("no such file");
  status.SetPayload("a", absl::Cord("1"));
  status.SetPayload("b", absl::Cord("2"));
  const absl::Status longer = WithContext(status, "image 'top': ");
  EXPECT_EQ(longer.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(longer.message(), "image 'top': no such file");
  EXPECT_EQ(longer.GetPayload("a"), absl::Cord("1"));
  EXPECT_EQ(longer.GetPayload("b"), absl::Cord("2"));
}

}  // namespace
}  // namespace millrace::status_context_test
