#include "tests/support/open_qcow2.h"

#include <memory>
#include <utility>

#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/builtin_drivers.h"
#include "millrace/graph/open_image.h"

namespace millrace {
namespace {

absl::Status CoUse(Graph& graph, NodeId top, Permissions permissions,
                   absl::FunctionRef<absl::Status(Attachment& user)> body) MILLRACE_MAY_SUSPEND {
  AttachmentOptions options;
  options.holder = MakeHolder("test", "guest");
  options.device_name = "test";
  options.permissions = permissions;
  MILLRACE_ASSIGN_OR_RETURN(Attachment user, Attachment::Attach(graph, top, options));
  absl::Status status = body(user);
  user.CoDetach();
  return status;
}

}  // namespace

absl::Status WithQcow2(const std::string& path, Permissions permissions,
                       absl::FunctionRef<absl::Status(Attachment& user)> body) {
  DriverRegistry registry;
  MILLRACE_RETURN_IF_ERROR(RegisterBuiltinDrivers(registry));
  MILLRACE_ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine, Engine::Create({}));
  return engine->Run([&]() MILLRACE_MAY_SUSPEND -> absl::Status {
    Graph graph(*engine);
    OpenImageOptions options;
    options.path = path;
    options.format = "qcow2";
    absl::StatusOr<OpenedImage> image = CoOpenImage(graph, registry, options);
    absl::Status status = image.status();
    if (status.ok()) {
      status = CoUse(graph, image->top(), permissions, body);
      image->holds.clear();
    }
    graph.CoClose();
    return status;
  });
}

}  // namespace millrace
