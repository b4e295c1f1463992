#include "millrace/engine/base/conflict.h"

#include <sstream>
#include <string>

#include <gtest/gtest.h>

#include "absl/strings/cord.h"

namespace millrace::conflict_test {
namespace {

TEST(Conflict, SurvivesTheTripThroughAStatus) {
  const Conflict conflict{.reason = ConflictReason::kFrozenLink,
                          .object = "mid backing",
                          .holders = {{"stream0", "stream job", 42}, {"", "", 0}},
                          .next_step = std::string("wait\0for it", 11),
                          .detail = "backing"};
  const absl::Status status = ConflictStatus(absl::StatusCode::kFailedPrecondition, conflict,
                                             "cannot remove 'mid'; cancel 'stream0' first");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "cannot remove 'mid'; cancel 'stream0' first");
  const std::optional<Conflict> read = ConflictOf(status);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(*read, conflict);
}

TEST(Conflict, IsReadableWhereAStatusIsPrinted) {
  std::ostringstream printed;
  printed << ConflictStatus(absl::StatusCode::kFailedPrecondition,
                            {.reason = ConflictReason::kFrozenLink,
                             .object = "mid backing",
                             .holders = {{"stream0", "stream job", 42, "backing"}},
                             .next_step = "wait for it, or cancel it"},
                            "no");
  EXPECT_EQ(printed.str(),
            "FAILED_PRECONDITION: no [millrace/conflict='{frozen-link | object: mid backing | "
            "holder: stream0, stream job, 42, backing | next: wait for it, or cancel it}']");
}

TEST(Conflict, KeepsEveryByteOfEveryField) {
  std::string all;
  for (int byte = 255; byte >= 0; --byte) all.push_back(static_cast<char>(byte));
  for (const std::string& text :
       {all, std::string(" | next: x}"), std::string("%41, {"), all + all}) {
    const Conflict conflict{.reason = ConflictReason::kPermission,
                            .object = text,
                            .holders = {{text, text, -1, text}, {}, {text, "", 7, ""}},
                            .next_step = text,
                            .detail = text};
    const std::optional<Conflict> read =
        ConflictOf(ConflictStatus(absl::StatusCode::kInternal, conflict, "no"));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(*read, conflict);
  }
}

TEST(Conflict, IsAbsentFromOtherStatuses) {
  EXPECT_EQ(ConflictOf(absl::OkStatus()), std::nullopt);
  EXPECT_EQ(ConflictOf(absl::InternalError("no payload")), std::nullopt);
}

TEST(Conflict, IgnoresAMutilatedPayload) {
  const absl::Status whole = ConflictStatus(
      absl::StatusCode::kNotFound,
      {.reason = ConflictReason::kUnknownJob, .object = "drive0", .holders = {{"a", "b", 1}}},
      "no");
  const std::string bytes(*whole.GetPayload("millrace/conflict"));
  for (const char* foreign : {"{}", "{no-such-reason}", "{permission | colour: red}",
                              "{permission | holder: a, b}", "{permission | object: %4}"}) {
    absl::Status other = whole;
    other.SetPayload("millrace/conflict", absl::Cord(foreign));
    EXPECT_EQ(ConflictOf(other), std::nullopt) << foreign;
  }
  for (size_t kept = 0; kept < bytes.size(); ++kept) {
    absl::Status cut = whole;
    cut.SetPayload("millrace/conflict", absl::Cord(bytes.substr(0, kept)));
    EXPECT_EQ(ConflictOf(cut), std::nullopt) << kept << " bytes kept";
  }
}

TEST(Conflict, EveryReasonHasAName) {
  for (int i = 0; i <= static_cast<int>(ConflictReason::kUnsupportedFeature); ++i) {
    EXPECT_NE(ConflictReasonName(static_cast<ConflictReason>(i)), "unknown") << i;
  }
}

TEST(Conflict, ANumberThatIsNoReasonIsUnknown) {
  EXPECT_EQ(ConflictReasonName(static_cast<ConflictReason>(255)), "unknown");
}

}  // namespace
}  // namespace millrace::conflict_test
