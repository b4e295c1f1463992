// QtestPort: where QEMU's test harness connects to drive a machine by hand (-qtest).
//
// There is no machine. The harness waits for the connection before it goes on, so it gets one, and
// a refusal for each command, in the words of a machine that does not know it. One client, lines of
// at most 64 KiB. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_QTEST_PORT_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_QTEST_PORT_H_

#include <memory>
#include <string>
#include <string_view>

#include "examples/hypervisor/process/chardev.h"
#include "examples/hypervisor/process/connection.h"

namespace millrace {

class QtestPort {
 public:
  // `chardev` has no user yet, and outlives the port.
  explicit QtestPort(Chardev& chardev);
  QtestPort(const QtestPort&) = delete;
  QtestPort& operator=(const QtestPort&) = delete;

 private:
  void Serve(std::unique_ptr<Connection> connection);
  void Take(std::string_view bytes);
  void End();

  Chardev& chardev_;
  std::unique_ptr<Connection> connection_;
  std::string line_;  // as far as it has come
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_QTEST_PORT_H_
