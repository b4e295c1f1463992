#include "examples/hypervisor/qmp/text_rope.h"

#include <array>
#include <memory>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/seeds.h"

namespace millrace::text_rope_test {
namespace {

TEST(TextRope, KeepsTheStoreOfItsPieces) {
  TextRope rope;
  std::weak_ptr<const std::string> watched;
  {
    auto store = std::make_shared<const std::string>("0123456789");
    watched = store;
    const std::string_view all = *store;
    rope.Append(store, all.substr(2, 3));
    rope.Append(std::move(store), all.substr(0, 2));
  }
  EXPECT_EQ(rope.ToString(), "23401");
  rope.RemoveFront(4);
  EXPECT_FALSE(watched.expired());
  rope.RemoveFront(1);
  EXPECT_TRUE(watched.expired()) << "what is not needed any more is kept";
}

TEST(TextRope, PiecesOfNothingAreNone) {
  TextRope rope("");
  rope.Append(std::string());
  rope.Append(TextRope());
  EXPECT_TRUE(rope.empty());
  std::array<iovec, 2> vectors;
  EXPECT_EQ(rope.Front(absl::MakeSpan(vectors)), 0u);
}

// A model: the rest of a string.
TEST(TextRope, ComesOutAsItWentInHoweverItIsTaken) {
  for (uint64_t seed : Seeds()) {
    std::mt19937_64 random(seed);
    TextRope rope;
    std::string model;
    std::string taken;
    std::string wanted;
    for (int step = 0; step < 40; ++step) {
      std::string text(random() % 5, static_cast<char>('a' + random() % 26));
      wanted += text;
      model += text;
      if (random() % 2 == 0) {
        rope.Append(TextRope(text));
      } else {
        rope.Append(text);
      }
      ASSERT_EQ(rope.bytes(), model.size());
      std::array<iovec, 3> vectors;
      const size_t count = rope.Front(absl::MakeSpan(vectors));
      size_t offered = 0;
      for (size_t i = 0; i < count; ++i) {
        const std::string piece(static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len);
        ASSERT_EQ(piece, model.substr(offered, piece.size()));
        offered += piece.size();
      }
      const size_t part = random() % (offered + 1);
      taken += model.substr(0, part);
      model.erase(0, part);
      rope.RemoveFront(part);
    }
    ASSERT_EQ(taken + rope.ToString(), wanted);
  }
}

}  // namespace
}  // namespace millrace::text_rope_test
