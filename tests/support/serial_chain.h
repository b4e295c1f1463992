// O4: what jobs that ran beside each other have made of a chain must be what they make of it one
// after the other, in some order. This is the model of that: a chain as a list of names, and what
// each job does to it when it completes. Nothing is asked of the engine.
//
//   SerialChain chain(4);                                             // n3 <- n2 <- n1 <- n0
//   chain.Take({ChainEdit::Kind::kStream, "n3", "n2"});               // n3 <- n1 <- n0
//   chain.Take({ChainEdit::Kind::kCommit, "n1", "n0"});               // n3 <- n0
//   CheckSerial(SerialChain(4), {{stream, ...}, {commit, ...}}, {"n3 <- n0", {{"n3", "n0"}, ...}});
#ifndef MILLRACE_TESTS_SUPPORT_SERIAL_CHAIN_H_
#define MILLRACE_TESTS_SUPPORT_SERIAL_CHAIN_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace millrace {

// What one job does to a chain, or a user.
struct ChainEdit {
  enum class Kind : uint8_t {
    kStream,    // what lies below `upper` goes, down to `lower`, which goes, too
    kCommit,    // `upper` goes, and what lies between it and `lower`; also an active commit
    kMirror,    // `upper` and all below it go; in their place is `lower`
    kFilter,    // `upper` comes right above `lower`
    kNoFilter,  // `upper` goes
    kSnapshot,  // `upper` comes on top
  };
  Kind kind = Kind::kStream;
  std::string upper;
  std::string lower{};
};

class SerialChain {
 public:
  explicit SerialChain(size_t layers);

  // False, and nothing is changed, where it cannot take place: what it is about is not there.
  bool Take(const ChainEdit& edit);
  // "n3 <- [f] <- n0"
  std::string Shape() const;
  // By layers that are in the chain: what the header names; "" for nothing. An overlay that
  // somebody has put there is none of the layers.
  std::map<std::string, std::string> Headers() const;

 private:
  struct Place {
    std::string name;
    bool is_layer = true;  // whose header is known
    bool is_filter = false;
    std::string header{};
  };
  using Iterator = std::vector<Place>::iterator;
  Iterator Find(const std::string& name);
  // What the nearest layer above `lower` names is the nearest image from there on.
  void WriteHeaderAbove(Iterator lower);

  std::vector<Place> places_;  // from the top down
};

// An edit, and whether it has taken place for sure: a job that ended well has, one that failed may
// have.
struct JobsEdit {
  ChainEdit edit;
  bool is_certain = true;
};

struct ChainAtEnd {
  std::string shape;
  // Nothing is said of headers of layers that are not among them.
  std::map<std::string, std::string> headers{};
};

// Internal ("O4: ...") if no order of the edits leads from `chain` to `end`.
absl::Status CheckSerial(const SerialChain& chain, absl::Span<const JobsEdit> edits,
                         const ChainAtEnd& end);

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_SERIAL_CHAIN_H_
