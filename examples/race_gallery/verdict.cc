#include "examples/race_gallery/verdict.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>
#include <utility>

#include "examples/race_gallery/words.h"
#include "millrace/engine/base/text.h"

namespace millrace::gallery {
namespace {

// What words.cc says must hold, broken.
constexpr Words kBroken[] = {
    {"deterministic", "The same schedule led to other steps when it was played again"},
    {"I1", "Something still refers to a node, a link or a job that is gone"},
    {"I2", "The guest does not read what it wrote last"},
    {"I4", "A write that the guest was told of is missing on the disk that a mirror moved it to"},
    {"I5", "An image's header says something else than the graph, so who opens it later is lost"},
    {"I6", "A frozen link was changed by another, or was not let go of in the end"},
    {"I7", "Somebody does to a node what another of its users has ruled out"},
    {"I8", "Something of somebody else's moves inside a drained section"},
    {"I9", "A drain has not ended as often as it began"},
    {"I10", "Nothing can go on any more: everybody waits"},
    {"I11", "Something does not go on, or far too late, although nobody hinders it"},
    {"I12", "A job was cancelled and does not stop"},
    {"I13",
     "A job failed although nobody disturbed it, or reports something else than it has done"},
    {"I14", "More has passed than the limit allows"},
    {"I15",
     "Only a part of a change has happened: the chain is none that the jobs could have made"},
    {"I16", "Two are at once where only one may be"},
    {"I18", "Something that was taken is not given back"},
    {"I19", "An image that was read-only can still be written to"},
    {"I20", "After a power cut the image is corrupt, or misses what had been flushed"},
    {"G1", "The graph has become a circle"},
    {"G2", "A parent and its child disagree on the link between them"},
    {"G3", "A node is gone although a link still leads to it, or lives on although none does"},
    {"G4", "A frozen link is not as it was when it was frozen"},
    {"G5", "A link has other permissions than those above it need"},
    {"G6", "A link changed while requests went through it"},
    {"G7", "Something moves inside a drained section that is not the drainer's own"},
    {"G8", "A change of the graph was not counted, or counted twice"},
    {"G9", "Somebody waits in the middle of looking at the graph or changing it"},
    {"J2", "A paused job still has requests under way"},
    {"J4", "A job that is over still holds something"},
    {"O10", "Some wait for each other for ever"},
    {"O11", "What nobody hinders does not come to its end"},
};

// Where what an entry restores is too short to be understood alone.
struct PlainWords {
  std::string_view id;
  std::string_view title;
  std::string_view bug;
};
constexpr PlainWords kPlainWords[] = {
    {"R07", "two jobs edit the graph in the same drain",
     "a drained section only waits until nothing is in flight: two jobs may edit in it at once"},
    {"R10", "a mirror does not look at its marks again inside its drain",
     "the mirror looks at its marks before the drain, and not again when the drain is complete: "
     "what was marked meanwhile is never copied"},
    {"R55", "a job that fails inside its last drain never ends it",
     "a mirror that fails in the middle of its end never ends the drain that it began for it"},
    {"R63", "one resume takes back only one of several errors",
     "each of several errors pauses the job once more, and one resume takes back only one"},
    {"R77", "a stream drains its base instead of what it edits",
     "a stream drains the node that its base names, and drains nothing where there is no base"},
};

std::optional<uint64_t> NumberAfter(std::string_view text, std::string_view words) {
  size_t at = text.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  at += words.size();
  if (at >= text.size() || std::isdigit(static_cast<unsigned char>(text[at])) == 0) {
    return std::nullopt;
  }
  uint64_t number = 0;
  for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) != 0; ++at) {
    number = number * 10 + static_cast<uint64_t>(text[at] - '0');
  }
  return number;
}

// What the guest's model says, and of which node: "sector 3 of 't' holds zeroes instead of version
// 12"; empty if it says something else.
std::string WhichVersion(std::string_view text) {
  const std::optional<uint64_t> sector = NumberAfter(text, "sector ");
  const std::optional<uint64_t> found = NumberAfter(text, "holds version ");
  const std::optional<uint64_t> expected = NumberAfter(text, "expected ");
  if (!sector || !found || !expected) return {};
  const std::string has = *found == 0 ? "zeroes" : StrCat("version ", *found);
  constexpr std::string_view kReads = "what the guest reads from '";
  std::string where;
  if (text.starts_with(kReads)) {
    text.remove_prefix(kReads.size());
    where = StrCat(" of '", text.substr(0, text.find('\'')), "'");
  }
  return StrCat("sector ", *sector, where, " holds ", has, " instead of version ", *expected);
}

// Of those who wait for ever: the circle in which they do; else one who waits for another, rather
// than the scene, which waits for them.
std::string_view WhoWaits(std::string_view waits) {
  std::string_view best;
  for (int best_rank = 0; !waits.empty();) {
    std::string_view line = waits.substr(0, waits.find('\n'));
    waits.remove_prefix(std::min(line.size() + 1, waits.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    const int rank = line.starts_with("wait cycle: ")                     ? 4
                     : line.starts_with("'scene'")                        ? 1
                     : line.find(", held by ") != std::string_view::npos  ? 3
                     : line.find("' waits at ") != std::string_view::npos ? 2
                                                                          : 0;
    if (rank <= best_rank) continue;
    best = line;
    best_rank = rank;
  }
  return best;
}

// A rule's or a status's: "I2", "DATA_LOSS".
bool IsCode(std::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isupper(c) != 0 || std::isdigit(c) != 0 || c == '_';
  });
}

// "job 's' failed: node 'n2' is gone" of "job 's' failed: NOT_FOUND: node 'n2' is gone; look it up
// again"; and of what somebody "reads: DATA_LOSS: ..." only what was wrong with it.
std::string WithoutCodes(std::string_view line) {
  std::string plain;
  bool has_code = false;
  while (!line.empty()) {
    const size_t end = std::min(line.find(": "), line.size());
    const std::string_view part = line.substr(0, end);
    line.remove_prefix(std::min(end + 2, line.size()));
    if (!IsCode(part)) {
      StrAppend(&plain, plain.empty() ? "" : ": ", part);
      continue;
    }
    has_code = true;
    if (plain.starts_with("what ")) plain.clear();
  }
  // What to do next is for who has asked.
  if (has_code) plain.resize(std::min(plain.rfind("; "), plain.size()));
  return plain;
}

// What was seen in this run, of which jobs and nodes: what a failure's text says without the words
// that are for those who know the code.
std::string WhatWasSeen(const Failure& failure) {
  std::string_view line = std::string_view(failure.text).substr(0, failure.text.find('\n'));
  if (const std::string_view who = WhoWaits(failure.text); !who.empty()) return std::string(who);
  constexpr std::string_view kCheckFailed = ": check failed: ";
  if (const size_t at = line.find(kCheckFailed); at != std::string_view::npos) {
    line.remove_prefix(at + kCheckFailed.size());
    line.remove_prefix(std::min(line.find(": ") + 2, line.size()));  // the condition
  }
  constexpr std::string_view kNow = "the graph now: ";
  if (line.starts_with(kNow)) line.remove_prefix(kNow.size());
  return WithoutCodes(line.substr(0, line.find(" [millrace/")));
}

// What does not hold now, in general.
std::string_view WhatIsBroken(const Failure& failure) {
  const std::string_view code = CodeOf(failure);
  if (!code.empty()) return Find(kBroken, code);
  return failure.signature.starts_with("check ")
             ? "The engine met a state that it relies on never to be in, and stopped"
             : "A step that nobody had a reason to refuse was refused";
}

const PlainWords* FindPlainWords(const Entry& entry) {
  const auto found = std::find_if(std::begin(kPlainWords), std::end(kPlainWords),
                                  [&](const PlainWords& each) { return each.id == entry.id; });
  return found == std::end(kPlainWords) ? nullptr : &*found;
}

}  // namespace

std::string VerdictOf(const Failure& failure) {
  std::string seen = WhichVersion(failure.text);
  if (seen.empty()) seen = WhatWasSeen(failure);
  return StrCat(WhatIsBroken(failure), seen.empty() ? "" : ": ", seen, ".");
}

std::string_view PlainTitleOf(const Entry& entry) {
  const PlainWords* words = FindPlainWords(entry);
  return words == nullptr ? entry.restores : words->title;
}

std::string_view PlainWordsOf(const Entry& entry) {
  const PlainWords* words = FindPlainWords(entry);
  return words == nullptr ? entry.restores : words->bug;
}

std::string_view PlainWordsOf(Mutant mutant) {
  for (const Entry& entry : Entries()) {
    if (entry.mutant == mutant) return PlainWordsOf(entry);
  }
  return {};
}

}  // namespace millrace::gallery
