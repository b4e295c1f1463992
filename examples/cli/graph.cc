// millrace graph: shows the nodes that an image and its backing files become.
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "examples/cli/commands.h"
#include "examples/cli/exit_code.h"
#include "examples/cli/graph_svg.h"
#include "examples/cli/remote.h"
#include "examples/cli/session.h"
#include "examples/common/qmp_client.h"
#include "examples/common/sizes.h"
#include "examples/hypervisor/qmp/json_format.h"
#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/base/text.h"
#include "millrace/graph/graph_view.h"

namespace millrace {
namespace {

constexpr std::string_view kGraphHelp =
    "Shows the graph that an image and its backing files become: one node for each format and one\n"
    "for each file, and the links between them. Opens everything read-only.\n"
    "\n"
    "With --socket it shows the graph of a running millraced instead, with what jobs have frozen,\n"
    "claimed and drained.\n"
    "\n"
    "  millrace graph overlay.qcow2\n"
    "  millrace graph --dot overlay.qcow2 | dot -Tsvg > chain.svg\n"
    "  millrace graph --socket /tmp/qmp --svg > graph.svg";

// How a daemon's graph is wanted.
struct RemoteFlags {
  std::string socket;
  bool as_dot = false;
  bool as_svg = false;
  bool as_json = false;
};

int RunRemote(const RemoteFlags& flags) {
  absl::StatusOr<std::unique_ptr<QmpClient>> client = QmpClient::Connect(flags.socket);
  if (!client.ok()) return ReportRemoteError(client.status(), flags.as_json);
  const absl::StatusOr<json::value> told =
      (*client)->Execute("x-millrace-explain", {{"dot", flags.as_dot}});
  if (!told.ok()) return ReportRemoteError(told.status(), flags.as_json);
  if (flags.as_svg) {
    fputs(DrawGraphAsSvg(At(*told, "graph")).c_str(), stdout);
  } else if (flags.as_json) {
    puts(FormatJson(At(*told, "graph"), JsonLayout::kPretty).c_str());
  } else {
    fputs(std::string(TextAt(*told, flags.as_dot ? "dot" : "text")).c_str(), stdout);
  }
  return kExitSuccess;
}

struct NodeText {
  std::string name;
  std::string driver;
  std::string file;
  uint64_t bytes = 0;
  bool is_read_only = false;
  std::vector<std::pair<std::string, std::string>> children;  // role, node name
};

std::vector<NodeText> CollectNodes(Graph& graph) MILLRACE_OPENS_VIEW {
  GraphView view(graph);
  std::vector<NodeText> nodes;
  for (NodeId id : view.Nodes()) {
    absl::StatusOr<NodeView> node = view.Resolve(id);
    NodeText text{node->name(),
                  std::string(node->driver_name()),
                  "",
                  node->bytes(),
                  node->is_read_only(),
                  {}};
    if (node->kind() == NodeKind::kProtocol) text.file = node->filename();
    for (const Role role : {Role::kPrimary, Role::kBacking, Role::kFiltered, Role::kData}) {
      if (const std::optional<NodeView> child = node->Child(role)) {
        text.children.emplace_back(RoleName(role), child->name());
      }
    }
    nodes.push_back(std::move(text));
  }
  return nodes;
}

void PrintText(const std::vector<NodeText>& nodes) {
  for (const NodeText& node : nodes) {
    printf("%s: %s, %s%s%s%s\n", node.name.c_str(), node.driver.c_str(),
           BytesInWords(node.bytes).c_str(), node.is_read_only ? ", read-only" : "",
           node.file.empty() ? "" : ", ", node.file.c_str());
    for (const auto& [role, child] : node.children) {
      printf("  %s -> %s\n", role.c_str(), child.c_str());
    }
  }
}

void PrintDot(const std::vector<NodeText>& nodes) {
  puts("digraph chain {\n  node [shape=box]");
  for (const NodeText& node : nodes) {
    const std::string label = StrCat(node.name, "\n", node.driver, ", ", BytesInWords(node.bytes),
                                     node.file.empty() ? "" : "\n", node.file);
    printf("  %s [label=%s%s]\n", JsonString(node.name).c_str(), JsonString(label).c_str(),
           node.file.empty() ? "" : ", style=rounded");
    for (const auto& [role, child] : node.children) {
      printf("  %s -> %s [label=%s]\n", JsonString(node.name).c_str(), JsonString(child).c_str(),
             JsonString(role).c_str());
    }
  }
  puts("}");
}

void PrintJson(const std::vector<NodeText>& nodes) {
  JsonWriter json;
  json.BeginArray();
  for (const NodeText& node : nodes) {
    json.BeginObject().Key("node").String(node.name).Key("driver").String(node.driver);
    if (!node.file.empty()) json.Key("filename").String(node.file);
    json.Key("bytes").Number(node.bytes).Key("read-only").Bool(node.is_read_only);
    json.Key("children").BeginObject();
    for (const auto& [role, child] : node.children) json.Key(role).String(child);
    json.EndObject().EndObject();
  }
  puts(json.EndArray().Take().c_str());
}

absl::Status CoCollect(Session& session, const SessionFlags& flags, const std::string& path,
                       std::vector<NodeText>* nodes) MILLRACE_MAY_SUSPEND {
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage image, CoOpenImage(session.graph(), session.registry(),
                                                           flags.OpenOptions(path, true)));
  *nodes = CollectNodes(session.graph());
  image.holds[0].CoDetach();
  return StopIfInterrupted();
}

absl::Status OneForm(bool as_dot, bool as_svg, bool as_json) {
  if (as_dot + as_svg + as_json <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError("--dot, --svg and --json exclude each other; give one of them");
}

}  // namespace

int RunGraph(Words words) {
  SessionFlags flags;
  std::string path;
  RemoteFlags remote;
  bool& as_dot = remote.as_dot;
  CommandLine line("graph", "graph [OPTION...] IMAGE | --socket PATH", kGraphHelp);
  line.Flag("dot", &as_dot, "print a picture for Graphviz");
  line.Option("socket", "PATH", &remote.socket, "the QMP socket of a running daemon");
  line.Flag("svg", &remote.as_svg, "with --socket: print the picture itself");
  flags.AddTo(line, /*has_force_share=*/true);
  line.Argument("IMAGE", &path, /*is_optional=*/true);
  if (absl::Status status = line.Parse(words); !status.ok()) return ReportUsage(status);
  if (line.wants_help()) return fputs(line.Help().c_str(), stdout), kExitSuccess;
  if (path.empty() == remote.socket.empty() || (remote.as_svg && remote.socket.empty())) {
    return ReportUsage(absl::InvalidArgumentError(
        "graph needs an image or --socket PATH, and --svg goes with --socket; see --help"));
  }
  remote.as_json = flags.json;
  if (!remote.socket.empty()) {
    absl::Status usage =
        line.RefuseAny({"format", "force-share", "like-qemu", "open-root", "direct", "io"},
                       "with --socket: the daemon has its images open already; leave that out");
    if (usage.ok()) usage = OneForm(as_dot, remote.as_svg, flags.json);
    return usage.ok() ? RunRemote(remote) : ReportUsage(usage);
  }
  if (absl::Status usage = OneForm(as_dot, false, flags.json); !usage.ok()) {
    return ReportUsage(usage);
  }
  Session session;
  std::vector<NodeText> nodes;
  absl::Status status = session.Start(flags);
  if (status.ok()) {
    status =
        session.Run([&]() MILLRACE_MAY_SUSPEND { return CoCollect(session, flags, path, &nodes); });
  }
  if (!status.ok()) return ReportError(status, flags);
  if (as_dot) {
    PrintDot(nodes);
  } else if (flags.json) {
    PrintJson(nodes);
  } else {
    PrintText(nodes);
  }
  return kExitSuccess;
}

}  // namespace millrace
