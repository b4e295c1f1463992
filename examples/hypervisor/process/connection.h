// Connection: a connected byte stream with a client: a socket, or standard input and output.
//
// Reading can be stopped, and what is written is buffered up to a limit: a client that does not
// read its replies is cut off rather than allowed to fill the memory. Home thread only; nothing
// here suspends.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CONNECTION_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CONNECTION_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "examples/hypervisor/process/event_loop.h"
#include "examples/hypervisor/qmp/text_rope.h"

namespace millrace {

class Connection {
 public:
  // With this much unsent behind the last reply, nothing more is accepted and the connection ends.
  static constexpr size_t kUnsentBytesMax = 16 << 20;

  // Takes over the descriptors, which may be the same; standard streams are left open at the end.
  Connection(EventLoop& loop, int input, int output);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // From now on: `on_bytes` for what arrives; `on_end` once, when the client will send no more (it
  // may still read); `on_sent` when the client has read on, so that less is unsent than before.
  // Each may destroy the connection.
  void Start(std::function<void(std::string_view)> on_bytes, std::function<void()> on_end,
             std::function<void()> on_sent);
  // What to do with a descriptor that the client passes along (SCM_RIGHTS), the first one of each
  // message: `take` owns it, before `on_bytes` hears of the bytes it came with. The others are
  // closed, and all of them if `take` is null.
  void SetDescriptorSink(std::function<void(int)> take) { take_descriptor_ = std::move(take); }
  // Reading begins on.
  void SetReading(bool is_reading);

  // Sends, now or when the client reads on. Dropped if is_broken(). What a client has asked for is
  // its own affair, and whoever asks sees to it that it does not become too much; what it has not
  // asked for is bounded here.
  void WriteReply(TextRope text);
  void Write(TextRope text);
  size_t unsent_bytes() const { return unsent_.bytes(); }
  // Nothing can be sent any more.
  bool is_broken() const { return is_broken_; }
  void Flush();

 private:
  void OnReady(short revents);
  void Read();
  ssize_t ReadSome(char* bytes, size_t count);
  void End();
  void Break();
  void UpdateEvents();
  // Sends some of what is unsent; as write(2), never blocking.
  ssize_t WriteSome();

  const int input_;
  const int output_;
  EventLoop::Watch input_watch_;
  std::unique_ptr<EventLoop::Watch> output_watch_;  // null if output_ is input_
  std::function<void(std::string_view)> on_bytes_;
  std::function<void()> on_end_;
  std::function<void()> on_sent_;
  std::function<void(int)> take_descriptor_;
  TextRope unsent_;
  size_t unasked_bytes_ = 0;  // of unsent_, behind the last reply
  bool is_socket_ = false;
  bool is_reading_ = false;
  bool has_ended_ = false;
  bool is_broken_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_CONNECTION_H_
