#include "millrace/graph/drivers/qcow2/header.h"

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "millrace/engine/base/conflict.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/seeds.h"

namespace millrace::qcow2 {
namespace {

using testing::HasSubstr;

Header SomeHeader() {
  Header header;
  header.bytes = 1 << 30;
  header.l1_entries = 2;
  header.l1_offset = 3 * 65536;
  header.refcount_table_offset = 65536;
  header.refcount_table_clusters = 1;
  header.header_bytes = kHeaderBytesWithCompression;
  header.unknown_fields.resize(7);
  return header;
}

absl::StatusOr<Header> Reparse(Header header) {
  absl::StatusOr<SerialisedHeader> content = SerialiseHeader(header);
  if (!content.ok()) return content.status();
  std::vector<uint8_t> cluster = content->start;
  cluster.resize(header.geometry.cluster_bytes());
  std::copy(header.backing.filename.begin(), header.backing.filename.end(),
            cluster.begin() + static_cast<ptrdiff_t>(header.backing_name_offset));
  return ParseHeader(cluster);
}

TEST(Qcow2Header, SurvivesBeingWrittenAndReadInBothVersions) {
  for (uint32_t version : {2u, 3u}) {
    Header header = SomeHeader();
    header.geometry.version = version;
    if (version == 2) {
      header.header_bytes = kHeaderBytesVersion2;
      header.unknown_fields.clear();
    } else {
      header.compatible_features = kCompatibleLazyRefcounts;
      header.geometry.refcount_order = 6;
    }
    header.backing = {"base.qcow2", "qcow2"};
    header.extensions = {{0x12345678, {1, 2, 3}}, OurFeatureNames()};
    const absl::StatusOr<Header> again = Reparse(header);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->geometry.version, version);
    EXPECT_EQ(again->geometry.refcount_order, header.geometry.refcount_order);
    EXPECT_EQ(again->bytes, header.bytes);
    EXPECT_EQ(again->l1_offset, header.l1_offset);
    EXPECT_EQ(again->compatible_features, header.compatible_features);
    EXPECT_EQ(again->backing, header.backing);
    EXPECT_EQ(again->extensions, header.extensions);
    EXPECT_EQ(again->header_bytes, header.header_bytes);
    EXPECT_TRUE(ValidateHeader(*again, 1 << 20, HeaderUse::kOpen).ok());
  }
}

TEST(Qcow2Header, KeepsFieldsBehindThoseItKnows) {
  Header header = SomeHeader();
  header.header_bytes = 128;
  header.unknown_fields.assign(128 - 105, 0xab);
  const absl::StatusOr<Header> again = Reparse(header);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->unknown_fields, header.unknown_fields);
}

TEST(Qcow2Header, NewBackingNameAvoidsTheOldOne) {
  Header header = SomeHeader();
  header.backing = {"first", ""};
  ASSERT_TRUE(SerialiseHeader(header).ok());
  const ByteRange old_name(header.backing_name_offset, header.backing.filename.size());
  header.backing.filename = "second";
  ASSERT_TRUE(SerialiseHeader(header, {.name = old_name}).ok());
  EXPECT_FALSE(ByteRange(header.backing_name_offset, 6).Overlaps(old_name));
}

TEST(Qcow2Header, NewBackingNameAvoidsTheOldExtensions) {
  Header header = SomeHeader();
  header.backing = {"first", "raw"};
  const uint64_t end = ExtensionsEnd(header);
  header.backing = {"second", ""};
  EXPECT_LT(ExtensionsEnd(header), end);
  ASSERT_TRUE(SerialiseHeader(header, {.extensions_end = end}).ok());
  EXPECT_EQ(header.backing_name_offset, end);
}

TEST(Qcow2Header, OfOneSectorHasAllButTheNamesOfFeatures) {
  Header header = SomeHeader();
  header.extensions = {OurFeatureNames(), {0x12345678, {1, 2, 3}}};
  ASSERT_TRUE(SerialiseHeader(header).ok());
  const auto start = SerialiseWithinSector(header);
  ASSERT_TRUE(start.has_value());
  const absl::StatusOr<Header> again = ParseHeader(*start);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->extensions, std::vector<HeaderExtension>{header.extensions[1]});
  header.extensions[1].data.resize(500);
  EXPECT_FALSE(SerialiseWithinSector(header).has_value());
}

TEST(Qcow2Header, RefusesABackingNameThatDoesNotFit) {
  Header header = SomeHeader();
  header.geometry.cluster_bits = 9;
  header.backing.filename = std::string(400, 'a');
  EXPECT_TRUE(absl::IsInvalidArgument(SerialiseHeader(header).status()));
}

TEST(Qcow2Header, UnknownFeaturesAreRefusedByTheNamesInTheImage) {
  Header header = SomeHeader();
  header.incompatible_features = uint64_t{1} << 40 | uint64_t{1} << 41;
  HeaderExtension names{kExtensionFeatureNames, std::vector<uint8_t>(48)};
  names.data[1] = 40;
  const std::string name = "time travel";
  std::copy(name.begin(), name.end(), names.data.begin() + 2);
  header.extensions = {names};
  const absl::StatusOr<Header> again = Reparse(header);
  ASSERT_TRUE(again.ok()) << again.status();
  const absl::Status status = ValidateHeader(*again, 1 << 20, HeaderUse::kOpen);
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("time travel"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("bit 41"));
  const std::optional<Conflict> conflict = ConflictOf(status);
  ASSERT_TRUE(conflict.has_value());
  EXPECT_EQ(conflict->reason, ConflictReason::kUnsupportedFeature);
}

TEST(Qcow2Header, UnknownFeaturesAreNamedEvenIfTheExtensionsAreBroken) {
  Header header = SomeHeader();
  header.incompatible_features = uint64_t{1} << 40;
  header.extensions = {{0x12345678, {1, 2, 3, 4}}};
  std::vector<uint8_t> cluster = SerialiseHeader(header)->start;
  cluster.resize(65536);
  StoreBig<uint32_t>(&cluster[kHeaderBytesWithCompression + 4], 0xffffffff);
  const absl::Status status = ParseHeader(cluster).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("bit 40"));
}

TEST(Qcow2Header, NamesWithControlCharactersAreMadeHarmless) {
  HeaderExtension names{kExtensionFeatureNames, std::vector<uint8_t>(48)};
  names.data[1] = 7;
  names.data[2] = '\n';
  names.data[3] = 0x1b;
  EXPECT_EQ(FeatureName({{names}}, FeatureKind::kIncompatible, 7), "??");
}

// ---- How much of the first cluster is enough --------------------------------------------------

// Whatever stands in `cluster`: a beginning that is said to be enough gives what the whole gives.
void ExpectEnoughIsEnough(const std::vector<uint8_t>& cluster) {
  const absl::StatusOr<Header> whole = ParseHeader(cluster);
  for (size_t bytes = 0; bytes < cluster.size(); bytes += 8) {
    const auto start = absl::MakeConstSpan(cluster).first(bytes);
    if (!HoldsWholeHeader(start)) continue;
    const absl::StatusOr<Header> part = ParseHeader(start);
    ASSERT_EQ(part.status(), whole.status()) << bytes << " bytes";
    if (!whole.ok()) continue;
    ASSERT_EQ(part->backing.filename, whole->backing.filename) << bytes << " bytes";
    ASSERT_EQ(part->backing.format, whole->backing.format) << bytes << " bytes";
    ASSERT_EQ(part->extensions, whole->extensions) << bytes << " bytes";
    ASSERT_EQ(part->unknown_fields, whole->unknown_fields) << bytes << " bytes";
  }
}

std::vector<uint8_t> FirstCluster(Header header) {
  header.geometry.cluster_bits = 12;
  const absl::StatusOr<SerialisedHeader> content = SerialiseHeader(header);
  EXPECT_TRUE(content.ok()) << content.status();
  std::vector<uint8_t> cluster = content->start;
  cluster.resize(header.geometry.cluster_bytes());
  std::copy(header.backing.filename.begin(), header.backing.filename.end(),
            cluster.begin() + static_cast<ptrdiff_t>(header.backing_name_offset));
  return cluster;
}

TEST(Qcow2Header, ABeginningThatHoldsItAllIsEnough) {
  Header header = SomeHeader();
  header.backing = {"base.qcow2", "qcow2"};
  header.extensions = {{0x12345678, std::vector<uint8_t>(900, 7)}, OurFeatureNames()};
  const std::vector<uint8_t> cluster = FirstCluster(header);
  EXPECT_TRUE(HoldsWholeHeader(absl::MakeConstSpan(cluster).first(2048)));
  EXPECT_FALSE(HoldsWholeHeader(absl::MakeConstSpan(cluster).first(1024)));
  ExpectEnoughIsEnough(cluster);
}

TEST(Qcow2Header, ABeginningIsJudgedRightWhateverStandsInIt) {
  Header header = SomeHeader();
  header.backing = {"base.qcow2", "qcow2"};
  header.extensions = {{0x12345678, {1, 2, 3}}, OurFeatureNames()};
  const std::vector<uint8_t> cluster = FirstCluster(header);
  for (uint64_t seed : Seeds(4)) {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> changed = cluster;
    for (int i = 0; i < 3; ++i) changed[random() % 700] = static_cast<uint8_t>(random());
    ExpectEnoughIsEnough(changed);
  }
}

}  // namespace
}  // namespace millrace::qcow2
