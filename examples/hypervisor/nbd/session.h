// NbdSession: one NBD client, from the greeting to the last reply.
//
//   readable, writable --> Service() --> handshake | requests --> the disk's GuestPort
//   completion, in a turn of the engine --> reply queued, host told --> GoOn() sends them all
//
// No coroutine, and nothing that waits: a request goes into the port as it is parsed, its payload
// read from the socket into the memory that the disk writes from; replies of one turn leave in one
// system call. Many requests are under way at once; their replies come in any order.
//
// Bounds. kCommandsMax requests and kBytesMax bytes of buffers per client, unsent replies included;
// a client who does not read his replies is not read from. The handshake and the farewell have a
// deadline each, in the engine's time.
//
// The end. A client that disconnects or vanishes: what is under way is finished first. Close() cuts
// the client off; the session must live on until is_finished(): the disk may still be using its
// buffers. Home thread.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_SESSION_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_SESSION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "examples/hypervisor/nbd/command.h"
#include "examples/hypervisor/nbd/handshake.h"
#include "examples/hypervisor/nbd/memory_budget.h"
#include "examples/hypervisor/nbd/stream.h"
#include "millrace/engine/engine.h"
#include "millrace/engine/scheduler/scheduler.h"

namespace millrace {

// What sessions need from the server; outlives them.
class NbdSessionHost : public NbdOffer {
 public:
  // TLS as the server's end over `plain`; asked for only if tls() is not kNone.
  virtual absl::StatusOr<std::unique_ptr<NbdStream>> StartTls(std::unique_ptr<NbdStream> plain) = 0;
  // Call GoOn() soon, outside coroutines; or let go of it, if it is finished.
  virtual void OnChanged(NbdSession& session) = 0;
  // Memory was given back: sessions that wait for it may go on.
  virtual void OnMemoryGiven() = 0;
  virtual NbdMemoryBudget& memory() = 0;

 protected:
  ~NbdSessionHost() = default;
};

class NbdSession {
 public:
  static constexpr size_t kCommandsMax = 64;
  static constexpr uint64_t kBytesMax = uint64_t{64} << 20;
  static constexpr Nanoseconds kHandshakeTime = 10 * kSecond;
  static constexpr Nanoseconds kFarewellTime = 10 * kSecond;

  NbdSession(Engine& engine, NbdSessionHost& host, std::unique_ptr<NbdStream> stream);
  // It must be finished (checked).
  ~NbdSession();
  NbdSession(const NbdSession&) = delete;
  NbdSession& operator=(const NbdSession&) = delete;

  // Sends and reads what can be without waiting, up to a bound; outside coroutines.
  void Service();
  // The same after a completion, when nothing says that there is anything to read.
  void GoOn();
  // What it waits for, as poll() has it.
  bool wants_read() const;
  bool wants_write() const;

  // At once, from anywhere on the home thread.
  void Close();
  bool is_finished() const { return phase_ == Phase::kClosed && in_flight_ == 0; }
  bool waits_for_memory() const { return waits_for_memory_; }
  // Null before the client has chosen one.
  const NbdDisk* disk() const { return handshake_.disk().get(); }
  size_t in_flight() const { return in_flight_; }
  // The host's own, to find what belongs to the session.
  void set_host_data(void* data) { host_data_ = data; }
  void* host_data() const { return host_data_; }

 private:
  enum class Phase : uint8_t {
    kHandshake,
    kTlsPending,    // the last reply in the clear is on its way
    kTransmission,  // between requests, or in the middle of a payload
    kFarewell,      // reads no more; what is under way is finished and sent
    kClosed,
  };

  void SendReplies();
  bool SendHandshakeReplies();
  bool SendCommandReplies();
  void TakeInput(bool may_read);
  // What TakeInput() has brought about is sent, and what has been said in full is ended.
  void SendLastReplies();
  // One step with what has been read; false if it needs more, or must wait.
  bool TakeStep();
  bool StepHandshake();
  bool StepHeader();
  bool StepPayload();
  // False: there is nothing now.
  bool ReadMore();
  void Distribute(size_t bytes);
  void AfterHandshakeReplies();
  void StartTls();
  void EnterTransmission();
  void BeginFarewell();
  void SetDeadline(Nanoseconds duration);

  bool TryReserve(const NbdRequest& request);
  void Begin(const NbdRequest& request, const std::optional<NbdRefusal>& refusal);
  absl::Status TakeBuffer(NbdCommand& command);
  void GiveBuffer(NbdCommand& command);
  void Perform(NbdCommand& command);
  void Submit(NbdCommand& command);
  void Refuse(NbdCommand& command, uint32_t error, std::string_view text);
  void OnPerformed(NbdCommand& command);
  void OnStatus(NbdCommand& command);
  void Queue(NbdCommand& command);
  void Recycle(NbdCommand& command);
  NbdCommand& TakeCommand();

  static void OnGuestDone(GuestRequest& request);
  static void OnStatusDone(NbdStatusQuery& query);
  static void OnDeadline(void* self);

  size_t buffered() const { return input_end_ - input_begin_; }

  using Commands = IntrusiveList<NbdCommand, &NbdCommand::link>;
  static constexpr size_t kInputBytes = 32 << 10;

  Engine& engine_;
  NbdSessionHost& host_;
  void* host_data_ = nullptr;
  std::unique_ptr<NbdStream> stream_;
  Phase phase_ = Phase::kHandshake;
  NbdHandshake handshake_;
  size_t handshake_sent_ = 0;  // of its replies
  std::shared_ptr<NbdDisk> disk_;
  NbdTerms terms_;
  Timer deadline_;

  std::array<uint8_t, kInputBytes> input_;
  size_t input_begin_ = 0;
  size_t input_end_ = 0;
  NbdCommand* receiving_ = nullptr;  // whose payload comes
  uint64_t skipped_bytes_ = 0;       // still to come of a payload that nobody wants
  bool is_blocked_ = false;          // the next request must wait for one before it
  bool waits_for_memory_ = false;
  bool is_drained_ = false;  // the last read found less than it asked for

  std::vector<std::unique_ptr<NbdCommand>> commands_;
  Commands free_;
  Commands replies_;
  size_t used_ = 0;       // commands that are not free
  size_t in_flight_ = 0;  // commands that the disk has
  uint64_t bytes_ = 0;    // of buffers
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_SESSION_H_
