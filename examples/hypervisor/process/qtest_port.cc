#include "examples/hypervisor/process/qtest_port.h"

#include <utility>

#include "examples/hypervisor/qmp/text_rope.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

constexpr size_t kLineBytesMax = 64 << 10;

}  // namespace

QtestPort::QtestPort(Chardev& chardev) : chardev_(chardev) {
  chardev_.ReserveForUser();
  chardev_.Activate(
      [this](std::unique_ptr<Connection> connection) { Serve(std::move(connection)); });
}

void QtestPort::Serve(std::unique_ptr<Connection> connection) {
  connection_ = std::move(connection);
  line_.clear();
  connection_->Start([this](std::string_view bytes) { Take(bytes); }, [this] { End(); }, nullptr);
}

void QtestPort::Take(std::string_view bytes) {
  line_ += bytes;
  for (size_t end; (end = line_.find('\n')) != line_.npos; line_.erase(0, end + 1)) {
    const std::string command = line_.substr(0, line_.find_first_of(" \t\r\n"));
    connection_->Write(TextRope(StrCat("FAIL Unknown command '", command, "'\n")));
  }
  connection_->Flush();
  if (line_.size() > kLineBytesMax) End();
}

void QtestPort::End() {
  connection_ = nullptr;
  chardev_.OnDisconnected();
}

}  // namespace millrace
