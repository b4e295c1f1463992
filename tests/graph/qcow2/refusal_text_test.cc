// What a refused image is told: the field, the value it has and the limit it breaks; the feature
// that is not supported, by its name. A golden image, one patch, one sentence.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "millrace/engine/base/status_macros.h"
#include "millrace/graph/drivers/qcow2/big_endian.h"
#include "millrace/graph/drivers/qcow2/geometry.h"
#include "millrace/graph/drivers/qcow2/header.h"
#include "tests/support/crafted_qcow2.h"
#include "tests/support/qcow2_images.h"

namespace millrace::refusal_text_test {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr uint64_t kCluster = 4096;

template <typename Value>
void Put(Bytes& image, uint64_t offset, std::type_identity_t<Value> value) {
  qcow2::StoreBig<Value>(&image[offset], value);
}
uint64_t Get(const Bytes& image, uint64_t offset) {
  return qcow2::LoadBig<uint64_t>(&image[offset]);
}

// An extension of the header, instead of all others.
void PutExtension(Bytes& image, uint32_t type, const Bytes& data) {
  std::fill_n(image.begin() + 112, 1024, uint8_t{0});
  Put<uint32_t>(image, 112, type);
  Put<uint32_t>(image, 116, static_cast<uint32_t>(data.size()));
  std::copy(data.begin(), data.end(), image.begin() + 120);
}

// A table of names with one entry, for an incompatible feature bit.
Bytes FeatureName(uint8_t bit, std::string_view name) {
  Bytes table(48);
  table[1] = bit;
  std::copy(name.begin(), name.end(), table.begin() + 2);
  return table;
}

Bytes Golden() {
  CrashDisk disk = MakeImage({.bytes = 256 * kCluster, .cluster_bytes = kCluster});
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    MILLRACE_RETURN_IF_ERROR(node.CoOpen());
    const absl::Status written = node.CoWrite(0, Pattern(4 * kCluster, 1));
    node.CoClose();
    return written;
  });
  EXPECT_TRUE(status.ok()) << status;
  return disk.live();
}

// The golden image with bitmaps, and where their extension's data begin.
Bytes GoldenWithBitmaps() {
  CraftedQcow2 image((CrashDisk(Golden())));
  image.AddBitmaps();
  return image.Finish().live();
}
uint64_t ExtensionOfBitmaps(const Bytes& image) {
  for (uint64_t at = 112; at < kCluster; at += 8) {
    if (qcow2::LoadBig<uint32_t>(&image[at]) == qcow2::kExtensionBitmaps) return at + 8;
  }
  return 0;
}

uint64_t FirstL2Entry(const Bytes& image) {
  return Get(image, Get(image, 40)) & qcow2::kEntryOffsetMask;
}

struct Refusal {
  const char* name;
  std::function<void(Bytes&)> patch;
  const char* text;
  Bytes (*golden)() = Golden;
};
void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

// Opens and reads all of it: what the first error says.
std::string TextOf(Bytes image) {
  CrashDisk disk(std::move(image));
  auto engine = SimulatedEngine();
  FakeDriverContext context(*engine, disk);
  context.set_read_only(true);
  FormatNode node(context, MakeQcow2Driver());
  const absl::Status status = engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    absl::Status result = node.CoOpen();
    if (result.ok()) {
      Bytes content(node.driver().bytes());
      result = node.CoRead(0, absl::MakeSpan(content));
    }
    node.CoClose();
    return result;
  });
  return std::string(status.message());
}

const Refusal kRefusals[] = {
    {"EncryptionAes", [](Bytes& i) { Put<uint32_t>(i, 32, 1); },
     "image 'img': the qcow2 feature 'encryption (AES)' is not supported"},
    {"EncryptionLuks", [](Bytes& i) { Put<uint32_t>(i, 32, 2); },
     "image 'img': the qcow2 feature 'encryption (LUKS)' is not supported"},
    {"EncryptionUnknown", [](Bytes& i) { Put<uint32_t>(i, 32, 77); },
     "image 'img': the qcow2 feature 'encryption method 77' is not supported"},
    {"EncryptionExtension", [](Bytes& i) { PutExtension(i, 0x0537be77, Bytes(16)); },
     "image 'img': the qcow2 feature 'encryption' is not supported"},
    {"DataFileBit", [](Bytes& i) { Put<uint64_t>(i, 72, 4); },
     "image 'img': the qcow2 feature 'external data file' is not supported"},
    {"DataFileExtension", [](Bytes& i) { PutExtension(i, 0x44415441, Bytes(8, 'x')); },
     "image 'img': the qcow2 feature 'external data file' is not supported"},
    {"UnknownFeatureBit", [](Bytes& i) { Put<uint64_t>(i, 72, 1 << 9); },
     "image 'img': the qcow2 feature 'unknown incompatible feature bit 9' is not supported"},
    {"UnknownFeatureWithAName",
     [](Bytes& i) {
       PutExtension(i, 0x6803f857, FeatureName(9, "Zx"));
       Put<uint64_t>(i, 72, 1 << 9);
     },
     "image 'img': the qcow2 feature 'Zx' is not supported"},
    {"Version", [](Bytes& i) { Put<uint32_t>(i, 4, 4); },
     "image 'img': the qcow2 feature 'version 4' is not supported"},
    {"CompressionTypeUnknown",
     [](Bytes& i) {
       Put<uint64_t>(i, 72, 8);
       i[104] = 2;
     },
     "image 'img': the qcow2 feature 'compression type 2' is not supported"},
    {"CompressionTypeWithoutBit", [](Bytes& i) { i[104] = 1; },
     "image 'img': compression type 1 needs the incompatible feature bit 3"},
    {"CompressionBitWithoutType", [](Bytes& i) { Put<uint64_t>(i, 72, 8); },
     "image 'img': compression type 0 needs no incompatible feature bit 3"},
    {"ClusterBitsLow", [](Bytes& i) { Put<uint32_t>(i, 20, 8); },
     "image 'img': cluster bits 8 are out of range (9 to 21)"},
    {"ClusterBitsHigh", [](Bytes& i) { Put<uint32_t>(i, 20, 22); },
     "image 'img': cluster bits 22 are out of range (9 to 21)"},
    {"RefcountOrder", [](Bytes& i) { Put<uint32_t>(i, 96, 7); },
     "image 'img': refcount order 7 is above the limit 6"},
    {"HeaderLength", [](Bytes& i) { Put<uint32_t>(i, 100, 4104); },
     "image 'img': header length 4104 is not a multiple of 8 between 104 and the cluster size "
     "4096"},
    {"HeaderLengthUnaligned", [](Bytes& i) { Put<uint32_t>(i, 100, 109); },
     "image 'img': header length 109 is not a multiple of 8 between 104 and the cluster size 4096"},
    {"ExtendedL2", [](Bytes& i) { Put<uint64_t>(i, 72, 16); },
     "image 'img': extended L2 entries need clusters of at least 16384 bytes, not 4096"},
    {"VirtualSize", [](Bytes& i) { Put<uint64_t>(i, 24, uint64_t{1} << 63); },
     "image 'img': virtual size 9223372036854775808 is above the limit 9223372036854775807"},
    {"VirtualSizeAboveL1Limit", [](Bytes& i) { Put<uint64_t>(i, 24, uint64_t{1} << 50); },
     "image 'img': virtual size 1125899906842624 needs 536870912 L1 entries with clusters of 4096 "
     "bytes (limit 4194304)"},
    {"VirtualSizeAboveL1", [](Bytes& i) { Put<uint64_t>(i, 24, 1 << 30); },
     "image 'img': the L1 table has 1 entries; virtual size 1073741824 needs 512"},
    {"L1EntriesAboveLimit", [](Bytes& i) { Put<uint32_t>(i, 36, 0x400001); },
     "image 'img': the L1 table has 4194305 entries (limit 4194304)"},
    {"L1EntriesBeyondTheFile", [](Bytes& i) { Put<uint32_t>(i, 36, 0x400000); },
     "image 'img': the L1 table at 12288 with 33554432 bytes ends beyond the end of the file at "
     "36864"},
    {"L1Unaligned", [](Bytes& i) { Put<uint64_t>(i, 40, 12296); },
     "image 'img': the L1 table at 12296 is not aligned to clusters of 4096 bytes"},
    {"L1AtTheHeader", [](Bytes& i) { Put<uint64_t>(i, 40, 0); },
     "image 'img': the L1 table is at offset 0, where the header is"},
    {"RefcountTableNone", [](Bytes& i) { Put<uint32_t>(i, 56, 0); },
     "image 'img': the refcount table has no clusters"},
    {"RefcountTableAboveLimit", [](Bytes& i) { Put<uint32_t>(i, 56, 2049); },
     "image 'img': the refcount table has 8392704 bytes (limit 8388608)"},
    {"RefcountTableUnaligned", [](Bytes& i) { Put<uint64_t>(i, 48, 4097); },
     "image 'img': the refcount table at 4097 is not aligned to clusters of 4096 bytes"},
    {"RefcountTableBeyondTheFile", [](Bytes& i) { Put<uint64_t>(i, 48, uint64_t{1} << 50); },
     "image 'img': the refcount table at 1125899906842624 with 4096 bytes ends beyond the end of "
     "the file at 36864"},
    {"Snapshots", [](Bytes& i) { Put<uint32_t>(i, 60, 65537); },
     "image 'img': the image counts 65537 snapshots (limit 65536)"},
    {"SnapshotsBeyondTheFile",
     [](Bytes& i) {
       Put<uint32_t>(i, 60, 65536);
       Put<uint64_t>(i, 64, 4096);
     },
     "image 'img': the snapshot table at 4096 with 2621440 bytes ends beyond the end of the file "
     "at 36864"},
    {"SnapshotExtraData",
     [](Bytes& i) {
       Put<uint32_t>(i, 60, 1);
       Put<uint64_t>(i, 64, 7 * kCluster);
       i.resize(8 * kCluster);
       Put<uint32_t>(i, 7 * kCluster + 36, 1025);
     },
     "open image 'img': snapshot 0 has 1025 bytes of extra data (limit 1024)"},
    {"SnapshotExtraDataTooShort",
     [](Bytes& i) {
       Put<uint32_t>(i, 60, 1);
       Put<uint64_t>(i, 64, 7 * kCluster);
       i.resize(8 * kCluster);
       Put<uint32_t>(i, 7 * kCluster + 36, 8);
     },
     "open image 'img': snapshot 0 has 8 bytes of extra data; version 3 needs 16"},
    {"BackingNameTooLong",
     [](Bytes& i) {
       Put<uint64_t>(i, 8, 1000);
       Put<uint32_t>(i, 16, 1024);
     },
     "image 'img': the backing file name has 1024 bytes (limit 1023)"},
    {"BackingNameOutside",
     [](Bytes& i) {
       Put<uint64_t>(i, 8, 4090);
       Put<uint32_t>(i, 16, 20);
     },
     "image 'img': the backing file name at 4090 with 20 bytes does not lie between the header and "
     "the end of cluster 0 at 4096"},
    {"BackingNameOffset", [](Bytes& i) { Put<uint64_t>(i, 8, 4097); },
     "image 'img': the backing file name at 4097 lies behind the end of cluster 0 at 4096"},
    {"ExtensionTooLong",
     [](Bytes& i) {
       Put<uint32_t>(i, 112, 0x1234);
       Put<uint32_t>(i, 116, 0xfffffff0);
     },
     "image 'img': header extension 1234 claims 4294967280 bytes; 3976 are left in the header "
     "cluster"},
    {"RawDataFileBit", [](Bytes& i) { Put<uint64_t>(i, 88, 2); },
     "image 'img': autoclear feature bit 1 (raw external data) is set, but the external data file "
     "it is about is not"},
    {"OtherFormat", [](Bytes& i) { i[3] = 0; },
     "image 'img': this is not a qcow2 image: it does not start with 'QFI'"},
    {"OtherFormatThatIsShort",
     [](Bytes& i) {
       i = {'P', 'K', 3, 4};
     },
     "image 'img': this is not a qcow2 image: it does not start with 'QFI'"},
    {"TooShort", [](Bytes& i) { i.resize(71); },
     "image 'img': the file has 71 bytes; a qcow2 header has at least 72"},
    {"TooShortForVersion3", [](Bytes& i) { i.resize(100); },
     "image 'img': the file has 100 bytes; a version 3 header has 104"},
    {"BitmapsExtensionBytes", [](Bytes& i) { Put<uint32_t>(i, ExtensionOfBitmaps(i) - 4, 16); },
     "open image 'img': the bitmaps extension has 16 bytes instead of 24", GoldenWithBitmaps},
    {"BitmapsReserved", [](Bytes& i) { Put<uint32_t>(i, ExtensionOfBitmaps(i) + 4, 5); },
     "open image 'img': the reserved field of the bitmaps extension is 5 instead of 0",
     GoldenWithBitmaps},
    {"BitmapsCount", [](Bytes& i) { Put<uint32_t>(i, ExtensionOfBitmaps(i), 65536); },
     "open image 'img': the bitmaps extension counts 65536 bitmaps (1 to 65535 are possible)",
     GoldenWithBitmaps},
    {"BitmapsDirectoryBytes",
     [](Bytes& i) { Put<uint64_t>(i, ExtensionOfBitmaps(i) + 8, (64 << 20) + 1); },
     "open image 'img': the bitmap directory has 67108865 bytes (limit 67108864)",
     GoldenWithBitmaps},
    {"BitmapsDirectoryUnaligned",
     [](Bytes& i) { Put<uint64_t>(i, ExtensionOfBitmaps(i) + 16, 5000); },
     "open image 'img': the bitmap directory at 5000 with 72 bytes is not aligned to clusters of "
     "4096 bytes, or does not lie between the header and the end of the file at 57344",
     GoldenWithBitmaps},
    {"L1EntryReserved", [](Bytes& i) { Put<uint64_t>(i, Get(i, 40), Get(i, Get(i, 40)) | 2); },
     "image 'img': L1 index 0: L1 entry 0x8000000000004002 has reserved bits set; check and repair "
     "the image before writing to it again"},
    {"L1EntryUnaligned", [](Bytes& i) { Put<uint64_t>(i, Get(i, 40), Get(i, Get(i, 40)) + 512); },
     "image 'img': L1 index 0: L1 entry 0x8000000000004200 points to an L2 table that is not "
     "aligned to clusters; check and repair the image before writing to it again"},
    {"L2TableBeyondTheFile",
     [](Bytes& i) { Put<uint64_t>(i, Get(i, 40), qcow2::kEntryCopied | 1 << 30); },
     "image 'img': L1 index 0: the L2 table at 1073741824 ends beyond the end of the file at "
     "36864; check and repair the image before writing to it again"},
    {"L2EntryReserved",
     [](Bytes& i) { Put<uint64_t>(i, FirstL2Entry(i), Get(i, FirstL2Entry(i)) | 4); },
     "image 'img': guest offset 0: L2 entry 0x8000000000005004 has reserved bits set; check and "
     "repair the image before writing to it again"},
    {"DataUnaligned",
     [](Bytes& i) { Put<uint64_t>(i, FirstL2Entry(i), Get(i, FirstL2Entry(i)) + 1024); },
     "image 'img': guest offset 0: L2 entry 0x8000000000005400 points to data that is not aligned "
     "to clusters; check and repair the image before writing to it again"},
    {"DataBeyondTheFile",
     [](Bytes& i) { Put<uint64_t>(i, FirstL2Entry(i), qcow2::kEntryCopied | uint64_t{1} << 40); },
     "image 'img': guest offset 0: data at 1099511627776 lies beyond the end of the file at 36864; "
     "check and repair the image before writing to it again"},
    {"CompressedBeyondTheFile",
     [](Bytes& i) { Put<uint64_t>(i, FirstL2Entry(i), uint64_t{1} << 62 | 1 << 30); },
     "image 'img': compressed data at 1073741824 lies beyond the end of the file at 36864"},
    {"CompressedGarbage",
     [](Bytes& i) {
       Put<uint64_t>(i, FirstL2Entry(i), uint64_t{1} << 62 | uint64_t{7} << 58 | 100);
     },
     "image 'img': data at 100: compressed cluster: the deflate stream is broken or too short"},
};

class Qcow2Refusal : public testing::TestWithParam<Refusal> {};

TEST_P(Qcow2Refusal, NamesFieldValueAndLimit) {
  Bytes image = GetParam().golden();
  GetParam().patch(image);
  EXPECT_EQ(TextOf(image), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(Fields, Qcow2Refusal, testing::ValuesIn(kRefusals),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace millrace::refusal_text_test
