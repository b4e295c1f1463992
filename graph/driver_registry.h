// DriverRegistry: drivers by name, made from options that are text. What command lines and clients
// use; code that knows which driver it wants calls the driver's own Make function.
//
// Nothing registers itself: RegisterBuiltinDrivers (graph/builtin_drivers.h) is an explicit call,
// and an embedder adds its own drivers and filters the same way.
//
//   registry.Register("flaky", [](const DriverOptions& options)
//       -> absl::StatusOr<std::unique_ptr<Driver>> {
//     DriverOptionReader reader("flaky", options);
//     FlakyOptions flaky;
//     MILLRACE_RETURN_IF_ERROR(reader.Read("rate", &flaky.rate));
//     MILLRACE_RETURN_IF_ERROR(reader.Finish());
//     return MakeFlaky(flaky);
//   }, NodeKind::kFilter);
#ifndef MILLRACE_GRAPH_DRIVER_REGISTRY_H_
#define MILLRACE_GRAPH_DRIVER_REGISTRY_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "millrace/graph/driver.h"

namespace millrace {

using DriverOptions = absl::btree_map<std::string, std::string>;

// Home thread only; nothing suspends. A driver that was made does not need the registry any more.
class DriverRegistry {
 public:
  using Factory =
      absl::AnyInvocable<absl::StatusOr<std::unique_ptr<Driver>>(const DriverOptions&) const>;

  // `kind` is how the name is used (KindOf); a filter is registered as one, and nothing else is.
  // AlreadyExists if the name is taken.
  absl::Status Register(std::string name, Factory factory, NodeKind kind);
  // NotFound (kUnknownFormat), with the names there are; else what the factory says. A factory
  // that makes a filter under a name that is none, or the other way round, has a bug (checked).
  absl::StatusOr<std::unique_ptr<Driver>> Make(std::string_view name,
                                               const DriverOptions& options) const;
  // The same for a filter, as CoStartInsertFilter takes it. InvalidArgument (kNotFilter), without
  // making one, if the name is another kind's.
  absl::StatusOr<std::unique_ptr<FilterDriver>> MakeFilter(std::string_view name,
                                                           const DriverOptions& options) const;
  // The kind of node it makes, as it was registered; nothing if there is no driver of that name. A
  // protocol stands for a file name itself, any other driver on the node that the name stands for.
  std::optional<NodeKind> KindOf(std::string_view name) const;
  std::vector<std::string> names() const;

 private:
  struct Entry {
    Factory factory;
    NodeKind kind;
  };
  absl::btree_map<std::string, Entry> factories_;
};

// Reads a driver's options one by one. Each Read leaves the target alone if the option is absent
// and answers InvalidArgument if it cannot be understood; Finish() refuses options nobody asked
// for, with the names of those that exist.
class DriverOptionReader {
 public:
  // Both must outlive the reader.
  DriverOptionReader(std::string_view driver, const DriverOptions& options)
      : driver_(driver), options_(options) {}

  absl::Status Read(std::string_view name, std::string* value);
  absl::Status Read(std::string_view name, bool* value);  // on, off, true, false
  // Decimal; K, M, G, T, P and E multiply by powers of 1024.
  absl::Status Read(std::string_view name, uint64_t* value);
  absl::Status Read(std::string_view name, std::optional<uint64_t>* value);
  // The option must be there.
  absl::Status Require(std::string_view name, std::string* value);
  // For errors about a value that only the driver can judge.
  absl::Status Bad(std::string_view name, std::string_view what_is_expected) const;
  absl::Status Finish() const;

 private:
  const std::string* Find(std::string_view name);

  const std::string driver_;
  const DriverOptions& options_;
  std::vector<std::string> asked_;
};

}  // namespace millrace

#endif  // MILLRACE_GRAPH_DRIVER_REGISTRY_H_
