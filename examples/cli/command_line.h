// CommandLine: the flags and arguments of one subcommand, and the help that tells about them.
//
//   CommandLine line("check", "check [OPTION...] IMAGE", "Checks ...");
//   line.Flag("json", &json, "print JSON");
//   line.Option("repair", "WHAT", &repair, "leaks or all");
//   line.Argument("IMAGE", &image);
//   MILLRACE_RETURN_IF_ERROR(line.Parse(words));
//
// Flags are spelled "--name", options "--name VALUE" or "--name=VALUE"; "--" ends them. The targets
// must outlive the parse.
#ifndef MILLRACE_EXAMPLES_CLI_COMMAND_LINE_H_
#define MILLRACE_EXAMPLES_CLI_COMMAND_LINE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace millrace {

class CommandLine {
 public:
  // `text` is what --help says below the usage line.
  CommandLine(std::string_view command, std::string_view usage, std::string_view text);

  void Flag(std::string_view name, bool* target, std::string_view help);
  void Option(std::string_view name, std::string_view placeholder, std::string* target,
              std::string_view help);
  // One of `values`, which are literals.
  void Choice(std::string_view name, std::string_view placeholder, std::string* target,
              std::vector<std::string_view> values, std::string_view help);
  // A size as in "64K".
  void Option(std::string_view name, std::string_view placeholder, uint64_t* target,
              std::string_view help);
  // An option that other commands have, and this one has no use for: it is refused, `why` is told,
  // and the help leaves it out.
  void Refuse(std::string_view name, std::string_view why);
  // Arguments are required unless `is_optional`; optional ones come last.
  void Argument(std::string_view name, std::string* target, bool is_optional = false);
  // A headline between groups of options in the help.
  void Group(std::string_view headline);

  // InvalidArgument tells what is wrong and where to find help.
  absl::Status Parse(absl::Span<const std::string> words);
  // Whether an option or flag of that name was among the words.
  bool Has(std::string_view name) const;
  // InvalidArgument if any of these was among the words: each is named, and `why` and what to do
  // are told.
  absl::Status RefuseAny(std::vector<std::string_view> names, std::string_view why) const;
  // --help was among the words; print Help() and do nothing else.
  bool wants_help() const { return wants_help_; }
  std::string Help() const;

 private:
  struct Entry {
    std::string name;  // empty: a headline
    std::string placeholder;
    std::string help;
    std::variant<std::monostate, bool*, std::string*, uint64_t*> target;
    std::vector<std::string_view> values = {};  // of a choice
    std::string refusal = {};                   // why the command has no use for it
    bool was_given = false;
  };
  struct Positional {
    std::string name;
    std::string* target;
    bool is_optional;
  };
  absl::Status Wrong(std::string_view what) const;
  absl::Status CheckChoice(const Entry& entry, std::string_view value) const;
  absl::Status ParseOption(std::string_view word, absl::Span<const std::string>* rest);

  const std::string command_;
  const std::string usage_;
  const std::string text_;
  std::vector<Entry> entries_;
  std::vector<Positional> arguments_;
  bool wants_help_ = false;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_CLI_COMMAND_LINE_H_
