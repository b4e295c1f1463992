#include "millrace/graph/io/format_probe.h"

#include <string>
#include <string_view>

#include <gtest/gtest.h>

namespace millrace::format_probe_test {
namespace {

using namespace std::string_literals;

std::string_view Probe(const std::string& head) {
  return ProbeFormat(
      absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(head.data()), head.size()));
}

// The whole sector of a file that begins with `start` and has `more` at a place.
std::string Sector(std::string start, size_t place = 0, const std::string& more = "") {
  start.resize(kProbeBytes);
  return start.replace(place, more.size(), more);
}

TEST(ProbeFormat, TellsQcow2OfEveryVersionFromTwoOn) {
  EXPECT_EQ(Probe("QFI\xfb\0\0\0\2"s), "qcow2");
  EXPECT_EQ(Probe("QFI\xfb\0\0\0\3\1"s), "qcow2");
  EXPECT_EQ(Probe("QFI\xfb\0\0\0\xff"s), "qcow2");
  EXPECT_EQ(Probe("QFI\xfb\1\0\0\0"s), "qcow2");
  EXPECT_EQ(Probe("QFI\xfb\0\0\0\1"s), "qcow");
  EXPECT_EQ(Probe("QFI\xfb\0\0\0\0"s), "raw");
  EXPECT_EQ(Probe("QFI\xfb\0\0\0"s), "raw");
  EXPECT_EQ(Probe(""), "raw");
}

TEST(ProbeFormat, TellsWhatQemuTellsByContent) {
  EXPECT_EQ(Probe(Sector("QED\0"s)), "qed");
  EXPECT_EQ(Probe(Sector("anything", 64, "\x7f\x10\xda\xbe")), "vdi");
  EXPECT_EQ(Probe(Sector("vhdxfile")), "vhdx");
  EXPECT_EQ(Probe(Sector("KDMV")), "vmdk");
  EXPECT_EQ(Probe(Sector("COWD")), "vmdk");
  EXPECT_EQ(Probe(Sector("conectix")), "vpc");
  EXPECT_EQ(Probe(Sector("LUKS\xba\xbe\0\1"s)), "luks");
  EXPECT_EQ(Probe(Sector("WithoutFreeSpace", 16, "\2")), "parallels");
  EXPECT_EQ(Probe(Sector("WithouFreSpacExt", 16, "\2")), "parallels");
  EXPECT_EQ(Probe(Sector("WithoutFreeSpace", 16, "\3")), "raw");
  EXPECT_EQ(Probe(Sector("Bochs Virtual HD Image", 64, "\0\0\2"s)), "bochs");
  EXPECT_EQ(Probe(Sector("Bochs Virtual HD Image", 64, "\0\0\3"s)), "raw");
  EXPECT_EQ(Probe(Sector("LUKS\xba\xbe\0\3"s)), "raw");
}

TEST(ProbeFormat, ReadsTheTextThatDescribesAVmdk) {
  EXPECT_EQ(Probe(Sector("# Disk DescriptorFile\n\n   \nversion=1\n")), "vmdk");
  EXPECT_EQ(Probe(Sector("# Disk DescriptorFile\r\n\r\nversion=3\r\n")), "vmdk");
  EXPECT_EQ(Probe(Sector("version=2\n")), "vmdk");
  EXPECT_EQ(Probe(Sector("version=4\n")), "raw");
  EXPECT_EQ(Probe("version=2"), "raw");
  EXPECT_EQ(Probe(Sector("CID=1\nversion=2\n")), "raw");
}

}  // namespace
}  // namespace millrace::format_probe_test
