#include "examples/hypervisor/introspect/schema_types.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "examples/hypervisor/qmp/command_table.h"
#include "millrace/engine/base/text.h"

namespace millrace {
namespace {

// "type:str error?:str": names and types, a question mark behind what may be absent.
struct Type {
  std::string_view name;
  std::string_view members;
};

constexpr std::string_view kProgress = "type:str device:str len:int offset:int speed:int";

constexpr Type kEvents[] = {
    {"BLOCK_EXPORT_DELETED", "id:str"},
    {"BLOCK_IMAGE_CORRUPTED", "device:str node-name?:str msg:str offset?:int size?:int fatal:bool"},
    {"BLOCK_JOB_CANCELLED", kProgress},
    {"BLOCK_JOB_COMPLETED", "type:str device:str len:int offset:int speed:int error?:str"},
    {"BLOCK_JOB_ERROR", "device:str operation:str action:str"},
    {"BLOCK_JOB_PENDING", "type:str id:str"},
    {"BLOCK_JOB_READY", kProgress},
    {"BLOCK_WRITE_THRESHOLD", "node-name:str amount-exceeded:int write-threshold:int"},
    {"DEVICE_DELETED", "device?:str path:str"},
    {"DEVICE_TRAY_MOVED", "device:str id:str tray-open:bool"},
    {"JOB_STATUS_CHANGE", "id:str status:str"},
    {"QUORUM_FAILURE", "reference:str sector-num:int sectors-count:int"},
    {"QUORUM_REPORT_BAD", "type:str error?:str node-name:str sector-num:int sectors-count:int"},
    {"RESET", "guest:bool reason:str"},
    {"RESUME", ""},
    {"SHUTDOWN", "guest:bool reason:str"},
    {"STOP", ""},
};

constexpr Type kObjectTypes[] = {
    {"authz-simple", "identity:str"},
    {"iothread",
     "aio-max-batch?:int thread-pool-min?:int thread-pool-max?:int poll-max-ns?:int "
     "poll-grow?:int poll-shrink?:int"},
    {"secret", "data?:str file?:str format?:QCryptoSecretFormat keyid?:str iv?:str"},
    {"throttle-group",
     "limits?:ThrottleLimits x-bps-total?:int x-bps-total-max?:int x-bps-total-max-length?:int "
     "x-bps-read?:int x-bps-read-max?:int x-bps-read-max-length?:int x-bps-write?:int "
     "x-bps-write-max?:int x-bps-write-max-length?:int x-iops-total?:int x-iops-total-max?:int "
     "x-iops-total-max-length?:int x-iops-read?:int x-iops-read-max?:int "
     "x-iops-read-max-length?:int x-iops-write?:int x-iops-write-max?:int "
     "x-iops-write-max-length?:int x-iops-size?:int"},
    {"tls-creds-anon", "verify-peer?:bool dir?:str endpoint?:ObjectEndpoint priority?:str"},
    {"tls-creds-psk",
     "verify-peer?:bool dir?:str endpoint?:ObjectEndpoint priority?:str username?:str"},
    {"tls-creds-x509",
     "verify-peer?:bool dir?:str endpoint?:ObjectEndpoint priority?:str sanity-check?:bool"},
};

constexpr Type kThrottleLimits = {
    "ThrottleLimits",
    "bps-total?:int bps-total-max?:int bps-total-max-length?:int bps-read?:int bps-read-max?:int "
    "bps-read-max-length?:int bps-write?:int bps-write-max?:int bps-write-max-length?:int "
    "iops-total?:int iops-total-max?:int iops-total-max-length?:int iops-read?:int "
    "iops-read-max?:int iops-read-max-length?:int iops-write?:int iops-write-max?:int "
    "iops-write-max-length?:int iops-size?:int"};

json::array Members(std::string_view text) {
  json::array members;
  for (const std::string& word : std::vector<std::string>(
           absl::StrSplit(absl::string_view(text.data(), text.size()), ' ', absl::SkipEmpty()))) {
    const size_t colon = word.find(':');
    const bool is_optional = word[colon - 1] == '?';
    json::object member = {{"name", word.substr(0, colon - (is_optional ? 1 : 0))},
                           {"type", word.substr(colon + 1)}};
    if (is_optional) member["default"] = nullptr;
    members.push_back(std::move(member));
  }
  return members;
}

json::object ObjectType(const std::string& name, json::array members) {
  return {{"name", name}, {"meta-type", "object"}, {"members", std::move(members)}};
}

}  // namespace

json::array DescribeEvents() {
  json::array types;
  for (const Type& event : kEvents) {
    const std::string data = StrCat("event-", event.name);
    types.push_back(
        {{"name", std::string(event.name)}, {"meta-type", "event"}, {"arg-type", data}});
    types.push_back(ObjectType(data, Members(event.members)));
  }
  return types;
}

json::array DescribeObjectTypes() {
  json::array types;
  json::array variants;
  std::vector<std::string_view> names;
  for (const Type& object : kObjectTypes) {
    const std::string name = StrCat("ObjectOptions-", object.name);
    types.push_back(ObjectType(name, Members(object.members)));
    variants.push_back({{"case", std::string(object.name)}, {"type", name}});
    names.push_back(object.name);
  }
  json::object options = ObjectType("ObjectOptions", Members("qom-type:ObjectType id:str"));
  options["tag"] = "qom-type";
  options["variants"] = std::move(variants);
  types.push_back(std::move(options));
  types.push_back(DescribeEnum("ObjectType", names));
  types.push_back(DescribeEnum("ObjectEndpoint", {"client", "server"}));
  types.push_back(DescribeEnum("QCryptoSecretFormat", {"raw", "base64"}));
  types.push_back(ObjectType(std::string(kThrottleLimits.name), Members(kThrottleLimits.members)));
  return types;
}

json::array DescribeDeviceTypes() {
  return {ObjectType("DeviceOptions", Members("driver:str id?:str bus?:str drive?:str"))};
}

}  // namespace millrace
