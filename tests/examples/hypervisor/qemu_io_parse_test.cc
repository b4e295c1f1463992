// qemu-io's command language.
#include <optional>
#include <string>
#include <vector>

#include "examples/hypervisor/block/qemu_io.h"
#include "gtest/gtest.h"
#include "millrace/engine/base/byte_range.h"

namespace millrace::qemu_io_parse_test {
namespace {

std::optional<QemuIoMistake> Parse(const std::string& line, QemuIoRequest* request) {
  return ParseIoRequest(SplitWords(line), request);
}

TEST(QemuIoParse, WordsKeepWhatStandsInQuotes) {
  EXPECT_EQ(SplitWords(R"(read -P 0x55 "a b"  c)"),
            (std::vector<std::string>{"read", "-P", "0x55", "a b", "c"}));
}

TEST(QemuIoParse, NumbersHaveSuffixesAndNothingBehindThem) {
  EXPECT_EQ(ParseIoNumber("64k"), 65536u);
  EXPECT_EQ(ParseIoNumber("0x200"), 512u);
  EXPECT_EQ(ParseIoNumber("1M"), 1u << 20);
  EXPECT_EQ(ParseIoNumber("1.5k"), 1536u);
  EXPECT_EQ(ParseIoNumber("1.k"), 1024u);
  EXPECT_EQ(ParseIoNumber("1.5E"), uint64_t{3} << 59);
  for (const char* exponent : {"1e3", "1.5e1k", "1.5E1k", "1.5e300k", "1.5e-300k"}) {
    EXPECT_EQ(ParseIoNumber(exponent), std::nullopt) << exponent;
  }
  EXPECT_EQ(ParseIoNumber("1.5x"), std::nullopt);
  EXPECT_EQ(ParseIoNumber("64kB"), std::nullopt);
  EXPECT_EQ(ParseIoNumber("-1"), std::nullopt);
  EXPECT_EQ(ParseIoNumber("9999999999G"), std::nullopt);
}

TEST(QemuIoParse, NoNumberIsBeyondWhatADiskCanHave) {
  for (const char* largest : {"9223372036854775807", "0x7fffffffffffffff"}) {
    EXPECT_EQ(ParseIoNumber(largest), kBytesMax) << largest;
  }
  for (const char* beyond : {"9223372036854775808", "18446744073709551615", "18446744073709551616",
                             "0x8000000000000000", "8E", "8191.99999999999999999999P"}) {
    EXPECT_EQ(ParseIoNumber(beyond), std::nullopt) << beyond;
    EXPECT_EQ(NoNumber(beyond),
              "Parsing error: argument too large -- " + std::string(beyond) + "\n");
  }
}

TEST(QemuIoParse, FlagsMayShareAWordAndTheLastMayTakeTheNext) {
  QemuIoRequest request;
  ASSERT_FALSE(Parse("write -qfP 0x55 64k 4k", &request));
  EXPECT_TRUE(request.is_quiet);
  EXPECT_TRUE(request.force_unit_access);
  EXPECT_EQ(request.pattern, 0x55);
  EXPECT_EQ(request.offset, 65536u);
  EXPECT_EQ(request.bytes, 4096u);
}

TEST(QemuIoParse, APartOfAReadIsComparedAndMustLieInside) {
  QemuIoRequest request;
  ASSERT_FALSE(Parse("read -P 1 -s 512 -l 1k 0 4k", &request));
  EXPECT_EQ(request.compared_offset, 512u);
  EXPECT_EQ(request.compared_bytes, 1024u);
  QemuIoRequest outside;
  EXPECT_TRUE(Parse("read -P 1 -s 4k -l 1 0 4k", &outside));
}

TEST(QemuIoParse, LengthsOfAVectorAddUp) {
  QemuIoRequest request;
  ASSERT_FALSE(Parse("aio_write 0 4k 8k 512", &request));
  EXPECT_EQ(request.bytes, 4096u + 8192 + 512);
  QemuIoRequest plain;
  EXPECT_TRUE(Parse("write 0 4k 8k", &plain));
}

TEST(QemuIoParse, FlagsThatMakeNoSenseTogetherAreRefused) {
  for (const char* line : {"write -u 0 1k", "write -n 0 1k", "write -z -P 1 0 1k",
                           "write -b -z 0 1k", "write 0", "write 0 x", "write x 1"}) {
    QemuIoRequest request;
    const std::optional<QemuIoMistake> mistake = Parse(line, &request);
    ASSERT_TRUE(mistake) << line;
    EXPECT_NE(mistake->output + mistake->complaint, "") << line;
  }
}

TEST(QemuIoParse, AnUnknownFlagIsAnsweredByTheUsage) {
  QemuIoRequest request;
  const std::optional<QemuIoMistake> mistake = Parse("read -1 512", &request);
  ASSERT_TRUE(mistake);
  EXPECT_EQ(mistake->complaint, "read: invalid option -- '1'\n");
  EXPECT_EQ(mistake->output.substr(0, 13), "read [-abCqv]");
}

TEST(QemuIoParse, NumbersThatAreTooLargeAreToldApart) {
  EXPECT_EQ(NoNumber("99999999999G"), "Parsing error: argument too large -- 99999999999G\n");
  for (const char* word : {"x", "1x", "-1", "", "1.5x"}) {
    EXPECT_EQ(NoNumber(word).substr(0, 28), "Parsing error: non-numeric a") << word;
  }
}

TEST(QemuIoParse, TheNumberOfWordsIsCheckedFirst) {
  EXPECT_EQ(CheckWordCount({"alloc"}),
            "bad argument count 0 to alloc, expected between 1 and 2 arguments\n");
  EXPECT_EQ(CheckWordCount({"flush", "x"}),
            "bad argument count 1 to flush, expected 0 arguments\n");
  EXPECT_EQ(CheckWordCount({"read", "0"}),
            "bad argument count 1 to read, expected at least 2 arguments\n");
  EXPECT_EQ(CheckWordCount({"read", "0", "1", "2", "3"}), std::nullopt);
}

TEST(QemuIoParse, LengthsBeyondARequestAreToldInTheWordsOfTheirCommand) {
  QemuIoRequest request;
  EXPECT_EQ(Parse("read 0 3G", &request)->output, "length cannot exceed 2147483136, given 3G\n");
  EXPECT_EQ(Parse("write 0 3G", &request)->output,
            "length cannot exceed 2147483136 without -n, given 3G\n");
  EXPECT_EQ(Parse("readv 0 3G", &request)->output,
            "Argument '3G' exceeds maximum size 2147483136\n");
  EXPECT_EQ(Parse("readv 0 1G 1G", &request)->output,
            "The total number of bytes exceed the maximum size 2147483136\n");
  QemuIoRequest whole;
  EXPECT_FALSE(Parse("write -z -n 0 3G", &whole));
}

TEST(QemuIoParse, NoLengthWrapsAround) {
  QemuIoRequest request;
  EXPECT_TRUE(Parse("readv 0 2147483136 2147483136", &request));
}

}  // namespace
}  // namespace millrace::qemu_io_parse_test
