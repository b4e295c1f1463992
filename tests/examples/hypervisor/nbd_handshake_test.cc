#include "examples/hypervisor/nbd/handshake.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/examples/hypervisor/nbd_wire.h"

namespace millrace::nbd_handshake_test {
namespace {

using nbd_wire::Big;
using nbd_wire::Contexts;
using nbd_wire::Flags;
using nbd_wire::Go;
using nbd_wire::Opt;
using nbd_wire::OptionAnswer;
using nbd_wire::Text;

class FakeDisk final : public NbdDisk {
 public:
  FakeDisk(std::string name, std::string description)
      : name_(std::move(name)), description_(std::move(description)) {}
  const std::string& name() const override { return name_; }
  const std::string& description() const override { return description_; }
  uint64_t bytes() const override { return 123456; }
  uint16_t transmission_flags() const override { return flags_; }
  NbdContextSet contexts() const override { return contexts_; }
  bool is_writethrough() const override { return false; }
  const GuestPort& port() const override { return port_; }
  void Ask(NbdStatusQuery&) override {}

  uint16_t flags_ = nbd::kHasFlags | nbd::kSendFlush;
  NbdContextSet contexts_ = OnlyNbdContext(kNbdAllocation);

 private:
  const std::string name_;
  const std::string description_;
  const GuestPort port_;
};

class FakeOffer final : public NbdOffer {
 public:
  Tls tls() const override { return tls_; }
  bool is_shutting_down() const override { return is_shutting_down_; }
  bool allows_many_connections() const override { return allows_many_connections_; }
  std::shared_ptr<NbdDisk> FindDisk(std::string_view name) const override {
    for (const std::shared_ptr<NbdDisk>& disk : disks_) {
      if (disk->name() == name) return disk;
    }
    return nullptr;
  }
  std::vector<std::shared_ptr<NbdDisk>> Disks() const override { return disks_; }

  Tls tls_ = Tls::kNone;
  bool is_shutting_down_ = false;
  bool allows_many_connections_ = true;
  std::shared_ptr<FakeDisk> first_ = std::make_shared<FakeDisk>("a", "");
  std::vector<std::shared_ptr<NbdDisk>> disks_ = {first_,
                                                  std::make_shared<FakeDisk>("b", "the second")};
};

using Result = NbdHandshake::Result;

class NbdHandshakeTest : public testing::Test {
 protected:
  // Feeds all of it, `piece` bytes at a time, as far as the handshake takes it.
  void Feed(std::string_view bytes, size_t piece = SIZE_MAX) {
    while (!bytes.empty() && handshake_->result() == Result::kGoesOn) {
      const std::string_view part = bytes.substr(0, piece);
      const size_t taken =
          handshake_->Take({reinterpret_cast<const uint8_t*>(part.data()), part.size()});
      bytes.remove_prefix(taken);
      sent_ += handshake_->replies();
      handshake_->replies().clear();
      ASSERT_TRUE(taken > 0 || handshake_->result() != Result::kGoesOn);
    }
    left_ = bytes.size();
  }
  void Start() {
    handshake_ = std::make_unique<NbdHandshake>(offer_);
    sent_ = handshake_->replies();
    handshake_->replies().clear();
  }
  // Feeds flags and an option; the answers to it.
  std::vector<OptionAnswer> Ask(std::string_view option) {
    Start();
    Feed(Flags());
    Feed(option);
    return Answers();
  }
  std::vector<OptionAnswer> Answers() {
    nbd_wire::Reader reader(sent_);
    EXPECT_TRUE(reader.TakeGreeting());
    std::vector<OptionAnswer> answers;
    while (auto answer = reader.TakeOptionAnswer()) answers.push_back(*answer);
    EXPECT_EQ(reader.rest(), "");
    return answers;
  }
  void ExpectRefused(std::string_view option, uint32_t type, std::string_view text) {
    const std::vector<OptionAnswer> answers = Ask(option);
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].type, type);
    EXPECT_EQ(answers[0].payload, text);
    EXPECT_EQ(handshake_->result(), Result::kGoesOn);
  }

  FakeOffer offer_;
  std::unique_ptr<NbdHandshake> handshake_;
  std::string sent_;
  size_t left_ = 0;
};

TEST_F(NbdHandshakeTest, GreetsAsFixedNewstyle) {
  Start();
  EXPECT_EQ(sent_, std::string("NBDMAGICIHAVEOPT\0\3", 18));
}

TEST_F(NbdHandshakeTest, AClientWithoutFixedNewstyleOrWithUnknownFlagsIsCutOff) {
  for (uint32_t flags : {0u, 2u, 5u, 7u, 0xffffffffu}) {
    Start();
    Feed(Flags(flags));
    EXPECT_EQ(handshake_->result(), Result::kBroken) << flags;
  }
}

TEST_F(NbdHandshakeTest, TheSameWhereverTheBytesAreCut) {
  const std::string script =
      Flags() + Opt(99, "unknown") + Opt(nbd::kOptList) + Opt(nbd::kOptStructuredReply) +
      Go("nope") + Contexts(nbd::kOptListMetaContext, "b", {}) +
      Contexts(nbd::kOptSetMetaContext, "b", {"x:y", "base:allocation"}) +
      Opt(nbd::kOptInfo, Text("b") + Big(uint16_t{2}, nbd::kInfoName, nbd::kInfoDescription)) +
      Go("b");
  Start();
  Feed(script);
  const std::string whole = sent_;
  EXPECT_EQ(handshake_->result(), Result::kTransmission);
  for (size_t piece = 1; piece < 40; ++piece) {
    Start();
    Feed(script, piece);
    EXPECT_EQ(sent_, whole) << piece;
    EXPECT_EQ(handshake_->result(), Result::kTransmission);
    EXPECT_EQ(handshake_->contexts(), OnlyNbdContext(kNbdAllocation));
  }
}

TEST_F(NbdHandshakeTest, ListNamesAllAndDescribes) {
  const std::vector<OptionAnswer> answers = Ask(Opt(nbd::kOptList));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].payload, Text("a"));
  EXPECT_EQ(answers[1].payload, Text("b") + "the second");
  EXPECT_EQ(answers[2].type, nbd::kRepAck);
}

TEST_F(NbdHandshakeTest, GoDescribesTheDiskAndBeginsTransmission) {
  const std::vector<OptionAnswer> answers = Ask(Go("a"));
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[0].payload, Big(uint16_t{3}, uint32_t{1}, uint32_t{4096}, uint32_t{32 << 20}));
  EXPECT_EQ(answers[1].payload, Big(uint16_t{0}, uint64_t{123456}, uint16_t{5}));
  EXPECT_EQ(answers[2].type, nbd::kRepAck);
  EXPECT_EQ(handshake_->result(), Result::kTransmission);
  EXPECT_EQ(handshake_->disk()->name(), "a");
}

TEST_F(NbdHandshakeTest, InfoDescribesAndGoesOn) {
  EXPECT_EQ(Ask(Go("a", nbd::kOptInfo)).back().type, nbd::kRepAck);
  EXPECT_EQ(handshake_->result(), Result::kGoesOn);
}

TEST_F(NbdHandshakeTest, ExportNameHasZeroesUnlessTheClientCanDoWithout) {
  for (uint32_t flags : {1u, 3u}) {
    Start();
    Feed(Flags(flags) + Opt(nbd::kOptExportName, "a"));
    EXPECT_EQ(handshake_->result(), Result::kTransmission);
    EXPECT_EQ(sent_.substr(18), Big(uint64_t{123456}, uint16_t{5}) +
                                    (flags == 1 ? std::string(124, '\0') : std::string()));
  }
}

TEST_F(NbdHandshakeTest, ExportNameOfNothingOrTooLongIsTheEnd) {
  for (const std::string& name :
       {std::string("nope"), std::string(4096, 'n'), std::string(4097, 'n')}) {
    Start();
    Feed(Flags() + Opt(nbd::kOptExportName, name));
    EXPECT_EQ(handshake_->result(), Result::kBroken);
  }
}

TEST_F(NbdHandshakeTest, NamesOfAnyLengthAndBytesAreAskedFor) {
  offer_.disks_.push_back(std::make_shared<FakeDisk>(std::string(4096, 'n'), ""));
  offer_.disks_.push_back(std::make_shared<FakeDisk>("", ""));
  offer_.disks_.push_back(std::make_shared<FakeDisk>("\xff\xfe", ""));
  for (const std::string& name : {std::string(4096, 'n'), std::string(), std::string("\xff\xfe")}) {
    EXPECT_EQ(Ask(Go(name)).back().type, nbd::kRepAck);
  }
  ExpectRefused(Go(std::string(4097, 'n')), nbd::kRepErrUnknown,
                "export '" + std::string(80, 'n') + "...' not present");
  ExpectRefused(Go("be\all\n"), nbd::kRepErrUnknown, "export 'be?ll?' not present");
}

TEST_F(NbdHandshakeTest, LengthsThatDoNotFitAreRefused) {
  for (const std::string& payload :
       {std::string(), Big(uint32_t{500}) + "a" + Big(uint16_t{0}), Text("a"),
        Big(uint32_t{0xffffffff}) + "a" + Big(uint16_t{0})}) {
    ExpectRefused(Opt(nbd::kOptGo, payload), nbd::kRepErrInvalid,
                  "Inconsistent lengths in option go");
  }
  for (const std::string& payload :
       {Text("a") + Big(uint16_t{0}) + "zz", Text("a") + Big(uint16_t{1}),
        Text("a") + Big(uint16_t{1}, uint16_t{0}) + "z"}) {
    ExpectRefused(Opt(nbd::kOptInfo, payload), nbd::kRepErrInvalid,
                  "option 'info' has unexpected length");
  }
  for (uint32_t option : {nbd::kOptList, nbd::kOptStructuredReply, nbd::kOptStartTls}) {
    EXPECT_EQ(Ask(Opt(option, "x"))[0].type, nbd::kRepErrInvalid);
  }
}

TEST_F(NbdHandshakeTest, AnUnknownOptionIsRefusedAndItsPayloadSkipped) {
  ExpectRefused(Opt(99), nbd::kRepErrUnsupported, "Unsupported option 99 (<unknown>)");
  ExpectRefused(Opt(99, std::string(100'000, 'x')), nbd::kRepErrUnsupported,
                "Unsupported option 99 (<unknown>)");
}

TEST_F(NbdHandshakeTest, AKnownOptionWithTooMuchIsRefusedWithoutKeepingIt) {
  EXPECT_EQ(Ask(Opt(nbd::kOptInfo, std::string(65'537, 'x')))[0].type, nbd::kRepErrTooBig);
  EXPECT_EQ(Ask(Opt(nbd::kOptInfo, std::string(65'536, 'x')))[0].type, nbd::kRepErrInvalid);
}

TEST_F(NbdHandshakeTest, EndlessOptionsAndWrongMagicAreTheEnd) {
  for (const std::string& header : {Big(nbd::kOptionMagic, uint32_t{99}, uint32_t{0xffffffff}),
                                    Big(nbd::kOptionMagic, uint32_t{99}, uint32_t{(32 << 20) + 1}),
                                    Big(nbd::kOptionMagic + 1, uint32_t{3}, uint32_t{0})}) {
    Start();
    Feed(Flags() + header);
    EXPECT_EQ(handshake_->result(), Result::kBroken);
  }
}

TEST_F(NbdHandshakeTest, StructuredRepliesAreAgreedOnOnce) {
  const auto answers = Ask(Opt(nbd::kOptStructuredReply) + Opt(nbd::kOptStructuredReply));
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].type, nbd::kRepAck);
  EXPECT_EQ(answers[1].payload, "structured reply already negotiated");
  EXPECT_TRUE(handshake_->structured_replies());
}

TEST_F(NbdHandshakeTest, ContextsAreChosenForOneDiskAndTheLastChoiceCounts) {
  const std::string open = Flags() + Opt(nbd::kOptStructuredReply);
  const auto chosen = [&](const std::vector<std::string>& choices, std::string_view disk) {
    Start();
    Feed(open);
    for (const std::string& choice : choices) Feed(choice);
    Feed(Go(disk));
    return handshake_->contexts() != 0;
  };
  const auto set = [](std::string_view name, std::vector<std::string> queries) {
    return Contexts(nbd::kOptSetMetaContext, name, queries);
  };
  EXPECT_TRUE(chosen({set("a", {"base:allocation"})}, "a"));
  EXPECT_TRUE(chosen({set("a", {"base:allocation", "base:allocation", "x"})}, "a"));
  EXPECT_FALSE(chosen({set("a", {"base:allocation"})}, "b"));
  EXPECT_FALSE(chosen({set("a", {"base:allocation"}), set("a", {})}, "a"));
  EXPECT_FALSE(chosen({set("a", {"base:allocation"}), set("nope", {"base:allocation"})}, "a"));
  EXPECT_FALSE(
      chosen({set("a", {"base:", "base", "BASE:ALLOCATION", "qemu:dirty-bitmap:x"})}, "a"));
  EXPECT_FALSE(chosen({set("a", {std::string(5000, 'x')})}, "a"));
}

TEST_F(NbdHandshakeTest, AContextIsThereForTheDisksThatOfferIt) {
  offer_.first_->contexts_ |= OnlyNbdContext(kNbdAllocationDepth);
  const auto told = [&](uint32_t option, std::string_view disk, std::vector<std::string> queries) {
    std::vector<std::string> names;
    Start();
    Feed(Flags() + Opt(nbd::kOptStructuredReply) + Contexts(option, disk, queries));
    for (const OptionAnswer& answer : Answers()) {
      if (answer.type == nbd::kRepMetaContext) names.push_back(answer.payload);
    }
    return names;
  };
  using Names = std::vector<std::string>;
  const std::string allocation = Big(uint32_t{0}) + "base:allocation";
  const std::string depth = Big(uint32_t{1}) + "qemu:allocation-depth";
  EXPECT_EQ(told(nbd::kOptListMetaContext, "a", {}), (Names{allocation, depth}));
  EXPECT_EQ(told(nbd::kOptListMetaContext, "b", {}), (Names{allocation}));
  EXPECT_EQ(told(nbd::kOptListMetaContext, "a", {"qemu:"}), (Names{depth}));
  EXPECT_EQ(told(nbd::kOptListMetaContext, "b", {"qemu:"}), (Names{}));
  EXPECT_EQ(told(nbd::kOptSetMetaContext, "a", {"qemu:"}), (Names{}));
  EXPECT_EQ(told(nbd::kOptSetMetaContext, "a", {"qemu:allocation-depth"}), (Names{depth}));
  EXPECT_EQ(told(nbd::kOptSetMetaContext, "a", {"qemu:allocation-depth", "base:allocation"}),
            (Names{allocation, depth}));
  Feed(Go("a"));
  EXPECT_EQ(handshake_->contexts(),
            OnlyNbdContext(kNbdAllocation) | OnlyNbdContext(kNbdAllocationDepth));
  EXPECT_EQ(told(nbd::kOptSetMetaContext, "b", {"qemu:allocation-depth"}), (Names{}));
}

TEST_F(NbdHandshakeTest, WhoMayConnectOnceIsNotToldOfManyConnections) {
  offer_.first_->flags_ |= nbd::kCanMultiConn;
  const auto flags = [&] { return nbd::ReadBig<uint16_t>(Ask(Go("a")).at(1).payload.data() + 10); };
  EXPECT_EQ(flags(), nbd::kHasFlags | nbd::kSendFlush | nbd::kCanMultiConn);
  offer_.allows_many_connections_ = false;
  EXPECT_EQ(flags(), nbd::kHasFlags | nbd::kSendFlush);
}

TEST_F(NbdHandshakeTest, ContextsNeedStructuredReplies) {
  EXPECT_EQ(Ask(Contexts(nbd::kOptSetMetaContext, "a", {"base:allocation"}))[0].type,
            nbd::kRepErrInvalid);
  EXPECT_EQ(Ask(Contexts(nbd::kOptListMetaContext, "a", {})).size(), 2u);
}

TEST_F(NbdHandshakeTest, ContextQueriesThatLieAboutTheirLengthAreRefused) {
  for (const std::string& payload :
       {Text("a") + Big(uint32_t{0xffffffff}), Text("a") + Big(uint32_t{2}) + Text("base:"),
        Text("a") + Big(uint32_t{1}, uint32_t{500}) + "base:",
        Text("a") + Big(uint32_t{0}) + "junk"}) {
    EXPECT_EQ(Ask(Opt(nbd::kOptListMetaContext, payload))[0].type, nbd::kRepErrInvalid);
  }
}

TEST_F(NbdHandshakeTest, AbortIsAcknowledgedAndTheEnd) {
  EXPECT_EQ(Ask(Opt(nbd::kOptAbort, "abc"))[0].type, nbd::kRepAck);
  EXPECT_EQ(handshake_->result(), Result::kOver);
}

TEST_F(NbdHandshakeTest, WithoutTlsItIsRefused) {
  ExpectRefused(Opt(nbd::kOptStartTls), nbd::kRepErrPolicy, "TLS not configured");
}

TEST_F(NbdHandshakeTest, WhereTlsIsRequiredNothingElseComesBeforeIt) {
  offer_.tls_ = NbdOffer::Tls::kRequired;
  for (uint32_t option : {nbd::kOptList, nbd::kOptGo, nbd::kOptInfo, nbd::kOptStructuredReply,
                          nbd::kOptSetMetaContext}) {
    EXPECT_EQ(Ask(Opt(option))[0].type, nbd::kRepErrTlsRequired);
  }
  Ask(Opt(nbd::kOptExportName, "a"));
  EXPECT_EQ(handshake_->result(), Result::kBroken);
  EXPECT_EQ(Ask(Opt(nbd::kOptAbort))[0].type, nbd::kRepAck);

  EXPECT_EQ(Ask(Opt(nbd::kOptStartTls))[0].type, nbd::kRepAck);
  EXPECT_EQ(handshake_->result(), Result::kStartTls);
  handshake_->OnTls();
  Feed(Opt(nbd::kOptStartTls) + Go("a"));
  EXPECT_EQ(handshake_->result(), Result::kTransmission);
  EXPECT_EQ(Answers()[1].payload, "TLS already enabled");
}

TEST_F(NbdHandshakeTest, AServerThatStopsSaysSo) {
  offer_.is_shutting_down_ = true;
  EXPECT_EQ(Ask(Go("a"))[0].type, nbd::kRepErrShutdown);
  EXPECT_EQ(Ask(Opt(nbd::kOptAbort))[0].type, nbd::kRepAck);
}

TEST_F(NbdHandshakeTest, RepliesAreGivenBeforeTheNextOptionIsTaken) {
  Start();
  const std::string flood = Flags() + Opt(nbd::kOptList) + Opt(nbd::kOptList);
  const size_t taken =
      handshake_->Take({reinterpret_cast<const uint8_t*>(flood.data()), flood.size()});
  EXPECT_EQ(taken, 4u + 16u);
}

}  // namespace
}  // namespace millrace::nbd_handshake_test
