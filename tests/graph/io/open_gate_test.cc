#include "millrace/graph/io/open_gate.h"

#include <string>

#include <gtest/gtest.h>

namespace millrace::open_gate_test {
namespace {

absl::StatusOr<GatedImage> Resolve(const std::string& holder, const std::string& name,
                                   const OpenGatePolicy& policy = {},
                                   const std::string& format = "qcow2") {
  return ResolveBackingReference(policy, holder, {.filename = name, .format = format});
}

TEST(OpenGate, PathsAreResolvedInTheFolderOfTheirImage) {
  EXPECT_EQ(Resolve("/images/vm/top.qcow2", "base.qcow2")->path, "/images/vm/base.qcow2");
  EXPECT_EQ(Resolve("/images/vm/top.qcow2", "../base.qcow2")->path, "/images/vm/../base.qcow2");
  EXPECT_EQ(Resolve("/images/vm/top.qcow2", "/else/base.qcow2")->path, "/else/base.qcow2");
  EXPECT_EQ(Resolve("top.qcow2", "base.qcow2")->path, "base.qcow2");
  EXPECT_EQ(Resolve("vm/top.qcow2", "base.qcow2")->path, "vm/base.qcow2");
  EXPECT_EQ(Resolve("/top.qcow2", "base.qcow2")->path, "/base.qcow2");
  EXPECT_EQ(Resolve("", "/base.qcow2")->path, "/base.qcow2");
  EXPECT_EQ(Resolve("", "base.qcow2").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(OpenGate, NothingButAPlainPathIsOpened) {
  for (const std::string name :
       {"nbd://host/export", "nbd:unix:/socket", "json:{\"driver\":\"nbd\"}", "file:/etc/shadow",
        "fat:rw:/tmp", "http://x/y", "a:b", ":", "blkdebug::x.img", "json:{}/../x"}) {
    EXPECT_EQ(Resolve("/images/top", name).status().code(), absl::StatusCode::kPermissionDenied)
        << name;
  }
  EXPECT_EQ(Resolve("/images/top", "./a:b")->path, "/images/./a:b");
  EXPECT_EQ(Resolve("/images/top", "/a:b")->path, "/a:b");
}

TEST(OpenGate, QemusWayLetsProtocolsThroughUnlessConfined) {
  const OpenGatePolicy policy{.like_qemu = true};
  EXPECT_EQ(Resolve("/images/top", "file:base.img", policy)->path, "/images/base.img");
  EXPECT_FALSE(Resolve("/images/top", "file:base.img", policy)->names_protocol);
  const OpenGatePolicy confined{.like_qemu = true, .open_root = "/images"};
  for (const std::string name : {"nbd:unix:/socket", "json:{}", "blkdebug::base.img"}) {
    EXPECT_EQ(Resolve("/images/top", name, policy)->path, name);
    EXPECT_TRUE(Resolve("/images/top", name, policy)->names_protocol);
    EXPECT_EQ(Resolve("/images/top", name, confined).status().code(),
              absl::StatusCode::kPermissionDenied);
  }
  EXPECT_EQ(Resolve("/images/top", "base.img", policy, "")->format, "");
}

TEST(OpenGate, AMissingFormatIsNotGuessed) {
  const absl::Status status = Resolve("/images/top", "base.img", {}, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("qemu-img rebase -u -F"), std::string::npos) << status;
}

TEST(OpenGate, BadNamesAreRefusedAndPrintedHarmlessly) {
  EXPECT_EQ(Resolve("/top", "").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Resolve("/top", std::string("a\0b", 3)).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Resolve("/top", std::string(1024, 'a')).status().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status status = Resolve("/top", "nbd:\x1b[2J\n\xff").status();
  EXPECT_NE(status.message().find("nbd:\\x1b[2J\\n\\xff"), std::string::npos) << status;
  EXPECT_LT(PrintableName(std::string(5000, '\n')).size(), 600u);
}

TEST(OpenGate, TheOpenRootConfinesNames) {
  const OpenGatePolicy policy{.open_root = "/images"};
  EXPECT_TRUE(Resolve("/images/vm/top", "../base", policy).ok());
  for (const std::string name : {"../../etc/shadow", "/etc/shadow", "/imagesX/a",
                                 "/images/../etc/x", "/images", "/images/", "//etc"}) {
    EXPECT_EQ(Resolve("/images/vm/top", name, policy).status().code(),
              absl::StatusCode::kPermissionDenied)
        << name;
  }
  EXPECT_FALSE(Resolve("vm/top", "base", policy).ok()) << "relative to who knows where";
}

TEST(OpenGate, LiesBelowGoesByWords) {
  EXPECT_TRUE(LiesBelow("/a/b", "/a"));
  EXPECT_TRUE(LiesBelow("/a/b", "/a/"));
  EXPECT_TRUE(LiesBelow("/a", "/"));
  EXPECT_TRUE(LiesBelow("/a/./x/../b", "/a"));
  EXPECT_FALSE(LiesBelow("/ab", "/a"));
  EXPECT_FALSE(LiesBelow("/a", "/a"));
  EXPECT_FALSE(LiesBelow("a/b", "/a"));
}

TEST(ChainGuard, NamesTheLoop) {
  ChainGuard guard({});
  EXPECT_TRUE(guard.AfterOpen("top", FileIdentity{1, 10}).ok());
  EXPECT_TRUE(guard.AfterOpen("a", FileIdentity{1, 11}).ok());
  EXPECT_TRUE(guard.AfterOpen("memory", std::nullopt).ok());
  EXPECT_TRUE(guard.AfterOpen("memory", std::nullopt).ok());
  EXPECT_TRUE(guard.AfterOpen("b", FileIdentity{2, 11}).ok());
  const absl::Status status = guard.AfterOpen("link-to-a", FileIdentity{1, 11});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(status.message().find("a -> memory -> memory -> b -> link-to-a"), std::string::npos)
      << status;
}

TEST(ChainGuard, EndsAtItsDepth) {
  ChainGuard guard({.chain_depth_max = 3});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(guard.BeforeOpen("image").ok());
    EXPECT_TRUE(guard.AfterOpen("image", std::nullopt).ok());
  }
  EXPECT_EQ(guard.BeforeOpen("one more").code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace millrace::open_gate_test
