// The model of what jobs make of a chain one after the other (O4), and what it complains of.
#include "tests/support/serial_chain.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/text.h"

namespace millrace::serial_chain_test {
namespace {

using Kind = ChainEdit::Kind;

const ChainEdit kStreamOfMiddle = {Kind::kStream, "n4", "n3"};
const ChainEdit kCommitBelow = {Kind::kCommit, "n2", "n1"};
const ChainEdit kFilterOnMiddle = {Kind::kFilter, "f", "n2"};

std::string After(const std::vector<ChainEdit>& edits) {
  SerialChain chain(6);
  for (const ChainEdit& each : edits) {
    if (!chain.Take(each)) return "cannot take place";
  }
  std::string said = chain.Shape();
  for (const auto& [layer, header] : chain.Headers()) StrAppend(&said, " ", layer, ":", header);
  return said;
}

TEST(SerialChain, KnowsWhatEachEditMakesOfTheChainAndItsHeaders) {
  EXPECT_EQ(After({{Kind::kStream, "n4", "n2"}}), "n5 <- n4 <- n1 <- n0 n0: n1:n0 n4:n1 n5:n4");
  EXPECT_EQ(After({{Kind::kStream, "n5", "n0"}}), "n5 n5:");
  EXPECT_EQ(After({{Kind::kCommit, "n3", "n1"}}), "n5 <- n4 <- n1 <- n0 n0: n1:n0 n4:n1 n5:n4");
  EXPECT_EQ(After({{Kind::kCommit, "n5", "n0"}}), "n0 n0:");
  EXPECT_EQ(After({{Kind::kMirror, "n5", "t"}}), "t");
  EXPECT_EQ(After({{Kind::kSnapshot, "s"}, {Kind::kCommit, "n5", "n0"}}), "s <- n0 n0:");
  EXPECT_EQ(After({{Kind::kFilter, "f", "n1"}, {Kind::kStream, "n5", "n2"}}),
            "n5 <- [f] <- n1 <- n0 n0: n1:n0 n5:n1");
  EXPECT_EQ(
      After({{Kind::kFilter, "f", "n1"}, {Kind::kNoFilter, "f"}, {Kind::kStream, "n1", "n1"}}),
      After({}));
}

TEST(SerialChain, DoesNotDoWhatIsAboutLayersThatAreGone) {
  EXPECT_EQ(After({{Kind::kStream, "n4", "n2"}, {Kind::kCommit, "n3", "n1"}}), "cannot take place");
  EXPECT_EQ(After({{Kind::kCommit, "n5", "n2"}, {Kind::kFilter, "f", "n4"}}), "cannot take place");
}

// What the engine is said to have left.
absl::Status Left(std::string shape, std::map<std::string, std::string> headers = {},
                  bool is_commit_certain = true) {
  const std::vector<JobsEdit> edits = {
      {kStreamOfMiddle}, {kFilterOnMiddle}, {kCommitBelow, is_commit_certain}};
  return CheckSerial(SerialChain(6), edits, {std::move(shape), std::move(headers)});
}

// The filter comes above n2, which the commit takes away: the other way round it could not come.
TEST(SerialChain, FindsTheOrderInWhichEditsMayHaveTakenPlace) {
  EXPECT_TRUE(Left("n5 <- n4 <- [f] <- n1 <- n0", {{"n4", "n1"}, {"n1", "n0"}}).ok());
  const std::vector<JobsEdit> other_way = {{kCommitBelow}, {kFilterOnMiddle}, {kStreamOfMiddle}};
  EXPECT_TRUE(CheckSerial(SerialChain(6), other_way, {"n5 <- n4 <- [f] <- n1 <- n0"}).ok());
}

TEST(SerialChain, SeesALayerThatIsPutBack) {
  EXPECT_THAT(Left("n5 <- n4 <- [f] <- n2 <- n1 <- n0").ToString(),
              testing::HasSubstr("O4: no order"));
  EXPECT_TRUE(Left("n5 <- n4 <- [f] <- n2 <- n1 <- n0", {}, false).ok());
}

TEST(SerialChain, SeesAFilterThatIsLost) { EXPECT_FALSE(Left("n5 <- n4 <- n1 <- n0").ok()); }

TEST(SerialChain, SeesAHeaderThatIsBehind) {
  EXPECT_FALSE(Left("n5 <- n4 <- [f] <- n1 <- n0", {{"n4", "n3"}}).ok());
  EXPECT_FALSE(Left("n5 <- n4 <- [f] <- n1 <- n0", {{"n3", "n1"}}).ok());
}

}  // namespace
}  // namespace millrace::serial_chain_test
