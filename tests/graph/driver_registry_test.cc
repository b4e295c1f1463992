#include "millrace/graph/driver_registry.h"

#include <memory>
#include <string>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/drivers/null.h"
#include "millrace/graph/drivers/raw.h"
#include "millrace/graph/filters/copy_on_read.h"
#include "tests/support/simulation.h"

namespace millrace::driver_registry_test {
namespace {

using ::testing::StartsWith;

class DriverRegistryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    BuiltinDriverServices services;
    services.find_throttle_group = [this](std::string_view name) {
      return name == "group0" ? group_ : nullptr;
    };
    ASSERT_TRUE(RegisterBuiltinDrivers(registry_, std::move(services)).ok());
  }
  std::string ErrorOf(std::string_view driver, const DriverOptions& options) {
    const absl::Status status = registry_.Make(driver, options).status();
    return status.ToString();
  }
  std::unique_ptr<Engine> engine_ = SimulatedEngine();
  std::shared_ptr<ThrottleGroup> group_ =
      std::make_shared<ThrottleGroup>(engine_->scheduler(), "group0", ThrottleLimits());
  DriverRegistry registry_;
};

TEST_F(DriverRegistryTest, MakesDriversOfEachKindFromText) {
  auto memory = registry_.Make("memory", {{"size", "64K"}, {"filename", "m.img"}});
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ((*memory)->driver_name(), "memory");
  EXPECT_EQ((*memory)->bytes(), 65536u);
  EXPECT_EQ((*memory)->filename(), "m.img");
  const DriverOptions one_of_each = {
      {"memory", "size"}, {"memory-overlay", "size"}, {"null", "size"}, {"file", "filename"},
      {"raw", "size"},    {"copy-on-read", "bottom"},
  };
  for (const auto& [name, option] : one_of_each) {
    auto driver = registry_.Make(name, {{option, "1M"}});
    ASSERT_TRUE(driver.ok()) << name << ": " << driver.status();
    EXPECT_EQ((*driver)->driver_name(), name);
  }
}

TEST_F(DriverRegistryTest, AThrottleFindsItsGroupByName) {
  EXPECT_TRUE(registry_.Make("throttle", {{"throttle-group", "group0"}}).ok());
  EXPECT_NE(ErrorOf("throttle", {{"throttle-group", "x"}}).find("there is no throttle group 'x'"),
            std::string::npos);
  EXPECT_NE(ErrorOf("throttle", {}).find("needs option 'throttle-group'"), std::string::npos);
  DriverRegistry without_groups;
  ASSERT_TRUE(RegisterBuiltinDrivers(without_groups).ok());
  EXPECT_FALSE(without_groups.Make("throttle", {{"throttle-group", "group0"}}).ok());
}

TEST_F(DriverRegistryTest, BlkdebugTakesItsRulesAsText) {
  EXPECT_TRUE(registry_.Make("blkdebug", {}).ok());
  EXPECT_TRUE(registry_.Make("blkdebug", {{"config", "[inject-error]\nevent=\"none\"\n"}}).ok());
  EXPECT_NE(ErrorOf("blkdebug", {{"config", "[inject]"}}).find("line 1"), std::string::npos);
}

TEST_F(DriverRegistryTest, AnUnknownDriverIsAnsweredWithTheKnownOnes) {
  EXPECT_THAT(
      ErrorOf("nbd\n", {}),
      StartsWith(
          "NOT_FOUND: no driver 'nbd\\n'; there are: blkdebug, blkverify, copy-on-read, file, "
          "memory, memory-overlay, null, null-aio, null-co, "));
}

TEST_F(DriverRegistryTest, AnUnknownOptionIsAnsweredWithTheKnownOnes) {
  EXPECT_EQ(ErrorOf("raw", {{"offest", "5"}}),
            "INVALID_ARGUMENT: driver 'raw' has no option 'offest'; it has: offset, size, guessed");
}

TEST_F(DriverRegistryTest, BadValuesNameOptionValueAndWhatIsExpected) {
  for (const std::string size :
       {"", "K", "-1", "+1", "1.5G", "9223372036854775808", "8E", "1 M", "0x10"}) {
    EXPECT_NE(ErrorOf("memory", {{"size", size}})
                  .find("option 'size' of driver 'memory' is '" + size + "', not a number"),
              std::string::npos)
        << size;
  }
  EXPECT_NE(ErrorOf("null", {{"read-zeroes", "yes"}}).find("not on or off"), std::string::npos);
  EXPECT_NE(ErrorOf("file", {{"filename", "x"}, {"locking", "maybe"}}).find("not auto, on or off"),
            std::string::npos);
  for (const std::string descriptor : {"2147483648", "4294967301", "9223372036854775807"}) {
    EXPECT_NE(ErrorOf("file", {{"filename", "x"}, {"descriptor", descriptor}})
                  .find("is '" + descriptor + "', not the number of an open file"),
              std::string::npos)
        << descriptor;
  }
  EXPECT_NE(ErrorOf("memory-overlay", {{"cluster-size", "500"}}).find("a power of two"),
            std::string::npos);
  EXPECT_NE(ErrorOf("memory-overlay", {{"size", "4E"}}).find("fewer than"), std::string::npos);
  EXPECT_NE(ErrorOf("file", {}).find("needs option 'filename'"), std::string::npos);
}

TEST_F(DriverRegistryTest, TheLargestSizesAreAccepted) {
  EXPECT_TRUE(registry_.Make("null", {{"size", "9223372036854775807"}}).ok());
  EXPECT_TRUE(registry_.Make("null", {{"size", "7E"}}).ok());
}

TEST_F(DriverRegistryTest, EmbeddersAddTheirOwnUnderFreeNames) {
  const auto factory = [](const DriverOptions&) -> absl::StatusOr<std::unique_ptr<Driver>> {
    return MakeNullDriver({});
  };
  EXPECT_TRUE(registry_.Register("own", factory, NodeKind::kProtocol).ok());
  EXPECT_TRUE(registry_.Make("own", {}).ok());
  EXPECT_EQ(registry_.Register("file", factory, NodeKind::kProtocol).code(),
            absl::StatusCode::kAlreadyExists);
}

TEST_F(DriverRegistryTest, FiltersAreMadeAsFilters) {
  const auto filter = registry_.MakeFilter("copy-on-read", {});
  ASSERT_TRUE(filter.ok()) << filter.status();
  EXPECT_EQ((*filter)->driver_name(), "copy-on-read");
  const absl::Status format = registry_.MakeFilter("qcow2", {}).status();
  EXPECT_EQ(format.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ConflictOf(format)->reason, ConflictReason::kNotFilter);
  EXPECT_EQ(ConflictOf(registry_.MakeFilter("no-such-driver", {}).status())->reason,
            ConflictReason::kUnknownFormat);
}

TEST_F(DriverRegistryTest, AFilterIsRegisteredAsOne) {
  const auto factory = [](const DriverOptions&) -> absl::StatusOr<std::unique_ptr<Driver>> {
    return MakeCopyOnReadDriver({});
  };
  ASSERT_TRUE(registry_.Register("own", factory, NodeKind::kFormat).ok());
  EXPECT_DEATH(registry_.Make("own", {}).IgnoreError(),
               "registered as another kind, and its factory makes a filter");
  const auto raw = [](const DriverOptions&) { return MakeRawDriver({}); };
  ASSERT_TRUE(registry_.Register("plain", raw, NodeKind::kFilter).ok());
  EXPECT_DEATH(registry_.Make("plain", {}).IgnoreError(),
               "registered as a filter, and its factory makes another kind");
}

}  // namespace
}  // namespace millrace::driver_registry_test
