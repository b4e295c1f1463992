// NbdHandshake: the negotiation with one client, fixed newstyle, up to the first request.
//
// A machine that is fed bytes, in pieces of any size, and answers with bytes; it knows no sockets.
// What a client may make it keep is bounded: 64 KiB of one option's payload. Larger ones are
// refused, and skipped as they arrive; beyond 32 MiB the client is cut off. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_HANDSHAKE_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_HANDSHAKE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"
#include "examples/hypervisor/nbd/disk.h"
#include "examples/hypervisor/nbd/protocol.h"

namespace millrace {

// What there is to negotiate about.
class NbdOffer {
 public:
  enum class Tls : uint8_t { kNone, kRequired };

  virtual Tls tls() const = 0;
  virtual bool is_shutting_down() const = 0;
  // Whether a client may expect that a second connection of its own is let in.
  virtual bool allows_many_connections() const { return true; }
  // Null if there is none of this name.
  virtual std::shared_ptr<NbdDisk> FindDisk(std::string_view name) const = 0;
  virtual std::vector<std::shared_ptr<NbdDisk>> Disks() const = 0;

 protected:
  ~NbdOffer() = default;
};

class NbdHandshake {
 public:
  static constexpr size_t kPayloadBytesMax = 64 << 10;

  enum class Result : uint8_t {
    kGoesOn,
    kStartTls,      // after the replies so far: TLS, then call OnTls()
    kTransmission,  // after the replies so far: requests for disk()
    kOver,          // after the replies so far: the end
    kBroken,        // at once: the client does not speak the protocol
  };

  // `offer` outlives it. The greeting is in replies() at once.
  explicit NbdHandshake(const NbdOffer& offer);

  // Takes bytes from the front of `input`, as far as the next reply at most; returns how many.
  size_t Take(absl::Span<const uint8_t> input);
  Result result() const { return result_; }
  void OnTls();

  // What is to be sent. Whoever sends it empties it.
  std::string& replies() { return replies_; }
  const std::string& replies() const { return replies_; }

  // ---- The outcome -------------------------------------------------------------------------------
  const std::shared_ptr<NbdDisk>& disk() const { return disk_; }
  bool structured_replies() const { return structured_replies_; }
  // What was chosen for the very disk; 0: nothing.
  NbdContextSet contexts() const;

 private:
  enum class State : uint8_t { kFlags, kHeader, kPayload, kSkip };

  void TakeFlags();
  void TakeHeader();
  void HandleOption();
  void ExportName();
  void List();
  void StartTls();
  void StructuredReply();
  void InfoOrGo();
  void MetaContexts(bool chooses);
  void DescribeDisk(const NbdDisk& disk, absl::Span<const uint16_t> asked);
  uint16_t FlagsOf(const NbdDisk& disk) const;
  bool RefuseEmptyOr(bool is_allowed, std::string_view text);
  void Reply(uint32_t type, std::string_view payload = {});
  void Refuse(uint32_t type, std::string_view text) { Reply(type, text); }
  void Expect(State state, size_t bytes);

  const NbdOffer& offer_;
  State state_ = State::kFlags;
  Result result_ = Result::kGoesOn;
  size_t wanted_ = 4;    // bytes until the next step
  std::string pending_;  // of them, what has come; kSkip keeps none
  std::string replies_;
  uint32_t option_ = 0;
  uint32_t option_bytes_ = 0;
  bool no_zeroes_ = false;
  bool has_tls_ = false;
  bool structured_replies_ = false;
  std::shared_ptr<NbdDisk> disk_;
  NbdContextSet chosen_contexts_ = 0;
  std::weak_ptr<NbdDisk> context_disk_;  // for which they were chosen
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_HANDSHAKE_H_
