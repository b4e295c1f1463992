// Lines of the human monitor become arguments of QMP.
#include "examples/hypervisor/qmp/hmp_arguments.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"

namespace millrace::hmp_arguments_test {
namespace {

const HmpSyntax kResize = {
    "block_resize", "", {{"device", HmpKind::kDevice}, {"size", HmpKind::kSize}}};
const HmpSyntax kBlock = {"block",
                          "info block",
                          {{"nodes", HmpKind::kFlag, true, 'n'},
                           {"verbose", HmpKind::kFlag, true, 'v'},
                           {"device", HmpKind::kDevice, true}}};

std::string Read(const HmpSyntax& syntax, std::string_view line) {
  const absl::StatusOr<json::object> read = ReadHmpArguments(syntax, line);
  return read.ok() ? json::serialize(*read) : std::string(read.status().message());
}

TEST(HmpArguments, SizesAreMebibytesUnlessASuffixSaysMore) {
  EXPECT_EQ(Read(kResize, "drive0 8"), R"({"device":"drive0","size":8388608})");
  EXPECT_EQ(Read(kResize, "  drive0   1.5k "), R"({"device":"drive0","size":1536})");
  EXPECT_EQ(Read(kResize, "\"a b\" 1G"), R"({"device":"a b","size":1073741824})");
}

TEST(HmpArguments, WhatIsMissingOrTooMuchIsToldWithWhereToLook) {
  const std::string help = "\r\nTry \"help block_resize\" for more information\r\n";
  EXPECT_EQ(Read(kResize, ""), "block_resize: block device name expected" + help);
  EXPECT_EQ(Read(kResize, "drive0"), "invalid size" + help);
  EXPECT_EQ(Read(kResize, "drive0 8x"), "invalid size" + help);
  EXPECT_EQ(Read(kResize, "drive0 -8"), "invalid size" + help);
  EXPECT_EQ(Read(kResize, "drive0 9999999P"), "invalid size" + help);
  EXPECT_EQ(Read(kResize, "drive0 8 9"),
            "block_resize: extraneous characters at the end of line" + help);
  EXPECT_EQ(Read(kResize, "\"drive0 8"), "unterminated string" + help);
}

TEST(HmpArguments, FlagsComeInTheirOrder) {
  EXPECT_EQ(Read(kBlock, "-n -v top"), R"({"nodes":true,"verbose":true,"device":"top"})");
  EXPECT_EQ(Read(kBlock, "-v"), R"({"verbose":true})");
  // As at QEMU's monitor, a flag that comes too late is a name.
  EXPECT_EQ(Read(kBlock, "-v -n"), R"({"verbose":true,"device":"-n"})");
  EXPECT_EQ(Read(kBlock, "-x"),
            "block: unsupported option -x\r\n"
            "Try \"help info block\" for more information\r\n");
  EXPECT_EQ(Read(kBlock, "-"),
            "block: unsupported option -\r\n"
            "Try \"help info block\" for more information\r\n");
}

TEST(HmpArguments, NumbersMayBeHexadecimalOrNegative) {
  const HmpSyntax syntax = {"limit", "", {{"a", HmpKind::kNumber}, {"b", HmpKind::kNumber}}};
  EXPECT_EQ(Read(syntax, "0x10 -3"), R"({"a":16,"b":-3})");
  EXPECT_EQ(Read(syntax, "1"),
            "unexpected end of expression\r\nTry \"help limit\" for more information\r\n");
}

TEST(HmpArguments, TheRestOfALineKeepsItsSpaces) {
  const HmpSyntax syntax = {"object_add", "", {{"options", HmpKind::kRest}}};
  EXPECT_EQ(Read(syntax, "iothread,id=a b"), R"({"options":"iothread,id=a b"})");
}

}  // namespace
}  // namespace millrace::hmp_arguments_test
