// Images in words.
#include "examples/hypervisor/block/image_info_text.h"

#include <string>

#include "gtest/gtest.h"

namespace millrace::image_info_text_test {
namespace {

TEST(ImageInfoText, SizesHaveThreeDigitsThatCount) {
  EXPECT_EQ(RoundedSizeText(0), "0 B");
  EXPECT_EQ(RoundedSizeText(999), "999 B");
  EXPECT_EQ(RoundedSizeText(1000), "0.977 KiB");
  EXPECT_EQ(RoundedSizeText(200704), "196 KiB");
  EXPECT_EQ(RoundedSizeText(uint64_t{20} << 30), "20 GiB");
}

TEST(ImageInfoText, TellsTheBackingFileAndWhereItIs) {
  const json::object image = {{"filename", "/d/top"},
                              {"format", "qcow2"},
                              {"virtual-size", 1048576},
                              {"backing-filename", "base"},
                              {"full-backing-filename", "/d/base"},
                              {"backing-filename-format", "raw"},
                              {"dirty-flag", true}};
  EXPECT_EQ(ImageInfoText(image),
            "image: /d/top\nfile format: qcow2\nvirtual size: 1 MiB (1048576 bytes)\n"
            "disk size: unavailable\ncleanly shut down: no\n"
            "backing file: base (actual path: /d/base)\nbacking file format: raw\n");
}

TEST(ImageInfoText, FactsOfTheFormatComeInTheirUsualOrder) {
  const json::object image = {
      {"format-specific",
       {{"type", "qcow2"}, {"data", {{"unheard-of", 3}, {"corrupt", false}, {"compat", "1.1"}}}}}};
  EXPECT_EQ(FormatFactsText(image), "    compat: 1.1\n    corrupt: false\n    unheard of: 3\n");
}

}  // namespace
}  // namespace millrace::image_info_text_test
