#include "examples/race_gallery/words.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "absl/types/span.h"
#include "examples/race_gallery/races.h"
#include "examples/race_gallery/verdict.h"
#include "millrace/engine/base/text.h"

namespace millrace::gallery {
namespace {

constexpr Words kInvariants[] = {
    {"deterministic", "a schedule that is played again leads to the same steps"},
    {"I1", "nothing refers to a node, a link or a job that is gone"},
    {"I2", "a disk shows what its guest wrote last, whatever jobs do below it"},
    {"I4", "when the guest is moved to a mirror's target, every write it was told of is there"},
    {"I5", "the headers of the images say what the graph is, by names that can be opened later"},
    {"I6", "only the holder of a frozen link changes it, and all that was frozen is let go again"},
    {"I7", "nobody does to a node what another one of its users has ruled out"},
    {"I8", "inside a drained section nothing of anybody else's moves"},
    {"I9", "a drain ends as often as it began, for everybody it reached"},
    {"I10", "something can always go on: nobody waits for what waits for him"},
    {"I11", "what nobody hinders goes on at once, and comes to its end"},
    {"I12", "a cancelled job stops soon and ends as cancelled"},
    {"I13", "a job that nobody disturbs succeeds; it ends once, and reports what it has done"},
    {"I14", "what passes within some time is what the limit allows"},
    {"I15",
     "all of a change happens or none of it: the chain is what the jobs would have made of "
     "it one after the other"},
    {"I16", "one at a time: nobody enters where somebody else is"},
    {"I18", "what was taken is given back: nodes, requests, memory"},
    {"I19", "an image that was read-only is so again when whoever wrote to it is done"},
    {"I20", "after a power cut an image is not corrupt and holds what was flushed"},
    {"G1", "the graph has no cycle"},
    {"G2", "parents and children agree on the links between them"},
    {"G3", "a node lives for as long as a link leads to it"},
    {"G4", "a frozen link stays as it was, unless its holder changes it"},
    {"G5", "the permissions of a link follow from what the nodes above it need"},
    {"G6", "a link changes only while what goes through it is at rest"},
    {"G7",
     "no request and no step of a job goes through a drained node, but for the drainer's own"},
    {"G8", "every change of the graph is counted, once"},
    {"G9", "nobody waits in the middle of looking at the graph or changing it"},
    {"J2", "a paused job has no request under way"},
    {"J4", "a job that is over holds nothing any more"},
    {"O10", "nobody waits for who waits for him"},
    {"O11", "what nobody hinders comes to its end"},
};

// "n0" is the lowest image of a chain, "n1" stands on it, and so on; the guest is on the top one.
constexpr Words kStories[] = {
    {"stream-above-commit",
     "Commit 'c' merges n2 and n1 into n0, below its filter 'cf'. Stream 's' fills n4 from n3. "
     "Both "
     "end in whatever order; the chain must then be n5 <- n4 <- n0."},
    {"commit-finalized-first",
     "Commit 'c' merges n2 and n1 into n0, below its filter 'cf'; stream 's' fills n4 from n3. "
     "Both "
     "wait for the user's word. A writer has a request on its way when the user finalizes 'c' and "
     "then 's'."},
    {"stream-finalized-first",
     "Commit 'c' merges n2 and n1 into n0, below its filter 'cf'; stream 's' fills n4 from n3. "
     "Both "
     "wait for the user's word. A writer has a request on its way when the user finalizes 's' and "
     "then 'c'."},
    {"stream-on-filter",
     "Stream 's' fills n4 down to the filter 'cf' of commit 'c'; afterwards 'c' is cancelled."},
    {"overlapping-starts",
     "One user starts commit 'c' of n2 into n0, another stream 's' of n2 into n3, at the same "
     "time. "
     "The two overlap: one of them must be refused."},
    {"stream-through-filter",
     "A user's filter 'f' stands on n2; stream 's' fills n4 from below it."},
    {"reopen-twice",
     "Two users make the node 'slow' writable and read-only again, at the same time."},
    {"one-stream", "Stream 's' fills n3 from n2 while the guest uses the disk."},
    {"slow-stream-and-a-guest",
     "Stream 's' fills n3 from n2 and n1 under a speed limit; its filter keeps what the guest "
     "reads."},
    {"one-stream-and-a-guest",
     "Stream 's' fills n3 from n2 and n1 while the guest writes to n3 and reads."},
    {"drains-beside-stream",
     "Stream 's' fills n3 from n2. Two drainers, again and again, drain n3 for a moment: nobody "
     "else's request or job may move there until they end it."},
    {"drains-beside-neighbours",
     "Commit 'c' merges n2 and n1 into n0, stream 's' fills n4 from n3; drainers drain n4 and n3 "
     "again and again, also while the two write the headers of those images."},
    {"edit-inside-long-drain",
     "A user drains n1, puts the filter 'f' between the guest and n1, and later takes it out "
     "again. "
     "The section goes on for a while after each change."},
    {"filter-beside-drained-node",
     "A filter 'f' comes to stand on n0 while n0 is drained: it must be drained, too."},
    {"move-onto-drained-filter",
     "The guest is moved onto the filter 'f', which somebody has drained."},
    {"drain-under-port",
     "A guest asks for four reads of the disk 'drive0' through its port, a queue to the engine; a "
     "user drains the disk's node n0 four times. From when a drain is complete to its end no "
     "request may be under way, and one is until the guest has been told of its end."},
    {"discards-and-drains",
     "A guest discards and reads; a drainer drains its disk again and again."},
    {"drain-source-during-pivot",
     "Mirror 'm' has copied the disk to 't' and is about to move the guest there, for which it "
     "drains. A drainer drains the old disk at the same time, again and again."},
    {"let-loose",
     "Stream 's' may copy one byte a second and sleeps; the user takes the limit away."},
    {"drains-beside-paced-mirror",
     "Mirror 'm' copies five KiB to 't' and may copy half a KiB a second; a user drains its source "
     "twice a second."},
    {"cancel-with-broken-target",
     "Mirror 'm' is ready and has copied what the guest wrote. From then on nothing can be written "
     "to its target 't' any more, nor flushed; the user cancels 'm' by force."},
    {"cancel-asleep", "Stream 's' may copy one byte a second and sleeps; the user cancels it."},
    {"cancel-at-any-time",
     "Stream 's' fills n3 from n2; at some moment the user cancels it. Either it was in time and "
     "the chain is as before, or it was too late and the stream succeeds."},
    {"cancel-one-of-two",
     "Streams 's' and 'q' are to succeed together or not at all. 'q' is done, 's' is slow, and the "
     "user cancels it."},
    {"cancel-commit-then-stream",
     "Commit 'c' would merge n3, n2 and n1 into n0, and the user cancels it; then stream 's' "
     "fills n3 from n2 and n1. Nothing of 'c' may be in its way."},
    {"cancel-by-old-number",
     "An owner cancels a job by the number of one that is long over; stream 't' has nothing to do "
     "with it."},
    {"drain-between-members",
     "Streams 'u' (n5 from n4) and 'l' (n2 from n1) end together. While 'l' prepares its end a "
     "drainer drains n5, so 'u' must not take a step."},
    {"shut-down-two",
     "Everything is shut down while streams 'u' and 'l', which end together, work."},
    {"shut-down-many",
     "Everything is shut down while two streams are over and kept for dismissal and 's', at one "
     "byte a second, is at work."},
    {"commit-under-reader",
     "Somebody lets nobody write to n0, so a commit into it must be refused, and work later."},
    {"unplug-while-commit-ends",
     "The disk is unplugged while commit 'c' ends; nobody else holds its images."},
    {"unplug-while-filter-goes",
     "The disk is unplugged while its filter 'f' is being removed; nobody else holds that."},
    {"stream-everything",
     "Stream 's' fills n2 with all that lies below; nothing is left below it."},
    {"stream-into-commits-overlay",
     "Commit 'c' of n2 into n0 ends and writes the header of n3; a user starts streams into n3."},
    {"stream-with-one-error",
     "Stream 's' fills n3 from n2; one operation on n3 fails. A job that fails leaves the chain as "
     "it was."},
    {"piece-fails",
     "Stream 's' fills n3 from n2 in pieces, several at a time; one operation on n3 fails."},
    {"pause-means-quiet", "Stream 's' copies in pieces; the user pauses it and resumes it."},
    {"four-ranges",
     "Four requests lock [0,1), [0,2), [0,2) and [1,3) of a range, one after the other."},
    {"three-lockers", "Three coroutines lock one mutex, twice each."},
    {"cancel-first-waiter",
     "One permit is free. 'large' waits for two and is cancelled; 'small' waits behind it for "
     "one."},
    {"member-leaves",
     "Two disks share a limit of one request a second; one leaves while the other waits."},
    {"drained-member",
     "Two disks share a limit of one request a second; one of them is drained, and whoever drains "
     "must not wait for its turn."},
    {"new-limits", "Requests wait at a limit of one a second; the user takes the limit away."},
    {"flushes-beside-writes",
     "A qcow2 image: one flushes again and again, another writes and flushes. Every flush ends."},
    {"table-grows-beside-flushes",
     "A qcow2 image whose refcount table is nearly full grows: a writer needs more clusters than "
     "the table can count, while two flush."},
    {"drain-below-two-streams",
     "Streams 's' (n5 from n4) and 'q' (n2 from n1) stand on n0, which a drainer drains again and "
     "again. Each schedule is played twice and must lead to the same steps."},
    {"group-keeps-its-rate", "Three disks share a limit of one request a second; all ask at once."},
    {"open-throttle-under-drain",
     "A throttle filter is opened on a node that is drained meanwhile."},
    {"each-on-the-other",
     "One user makes image x the backing of y, another y the backing of x, at the same time."},
    {"mirror-pivots",
     "Mirror 'm' copies the disk to 't' and then moves the guest there, who writes all the time."},
    {"pivot-under-writer",
     "Mirror 'm' has copied the disk to 't'; a writer writes one place after the other while the "
     "user completes the mirror, which moves it to 't'."},
    {"target-fails-at-the-end",
     "Mirror 'm' has copied the disk to 't' and is completed while a writer writes; now 't' fails. "
     "The writer stays where it is and must go on."},
    {"stop-and-resume",
     "Mirror 'm' stops at errors of its target 't', of which there are several; the user mends "
     "them and resumes it, once."},
    {"complete-while-drained",
     "Mirror 'm' is ready; somebody drains the disk, and the user completes the mirror meanwhile."},
    {"mirror-slow-maps",
     "Mirror 'm' looks into the images' maps, which takes a while, when the guest already writes."},
    {"mirror-with-small-buffer", "Mirror 'm' has memory for one piece only."},
    {"complete-under-load",
     "Mirror 'm' has copied the disk to 't'; four writers never stop. The user completes it."},
    {"mirror-of-a-hot-spot",
     "Mirror 'm' copies the disk to 't' for the first time, several pieces at a time; a writer "
     "writes every third sector once, so that some are to be copied again while that is being "
     "done."},
    {"mirror-with-coarse-marks",
     "Mirror 'm' marks what is to be copied in units larger than what the images' maps can tell."},
    {"ignore-one-error",
     "Mirror 'm' ignores an error of its target 't': what was to be copied is still to be copied."},
    {"mirror-in-batches",
     "Mirror 'm' copies a qcow2 image to another one, several pieces in one go; a write to the "
     "target fails once, which it is to ignore: what was to be copied is still to be copied."},
    {"reuse-under-reader",
     "A qcow2 image: a slow reader knows where a cluster is, a discarder gives the cluster back, a "
     "writer is looking for free ones."},
    {"shrink-under-writer",
     "A qcow2 image is made half as long while a writer writes to the second half. Made longer "
     "again, that must read as zeroes."},
    {"batches-beside-guest",
     "A copier fills what nobody has written yet, two clusters at a time; the guest writes to the "
     "same clusters, and what it writes stays."},
    {"power-cut",
     "A qcow2 image: sectors are discarded and others written when the power fails. The disk keeps "
     "what was flushed, and of the rest what it likes. Then another machine opens the image."},
    {"power-cut-while-shrinking",
     "A qcow2 image is made half as long when the power fails. Another machine makes it longer "
     "again: what was cut off must read as zeroes."},
    {"change-group",
     "Requests wait at the filter 'f' in a slow throttle group; the user moves 'f' into another "
     "group, and the old one goes."},
    {"reopen-two-twice",
     "Two nodes are to become writable together; the first time one of them refuses."},
    {"commit-below-filter",
     "A user's filter 'f' stands on n2; commit 'c' merges n2 and n1 into n0 below it."},
    {"insert-two",
     "The job 'first' is about to put the filter 'e' on n2 and waits for the user's word; "
     "meanwhile "
     "the job 'insert' puts the filter 'f' on n2. Then the user says the word."},
    {"leave-with-requests",
     "A client's read is on its way to the disk when the client's attachment goes."},
    {"leave-in-drain",
     "A client with requests under way leaves while somebody has drained its disk."},
};

// The first code in a text that is an invariant's: "G7" in "the graph: INTERNAL: G7: node 'n3'
// ...".
std::optional<Words> FirstCodeIn(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && std::isalnum(static_cast<unsigned char>(text[end])) != 0) ++end;
    const std::string_view word = text.substr(at, end - at);
    if (const std::string_view found = Find(kInvariants, word); !found.empty()) {
      return Words(word, found);
    }
    at = end + 1;
  }
  return std::nullopt;
}

std::optional<Words> InvariantNamedBy(const Failure& failure) {
  const std::optional<Words> named = FirstCodeIn(failure.signature);
  return named ? named : FirstCodeIn(failure.text);
}

// "I4 (when the guest is moved to ...), I2 (...)" of "I4 I2".
std::string InvariantsInWords(std::string_view codes) {
  std::string words;
  while (!codes.empty()) {
    const size_t end = std::min(codes.find(' '), codes.size());
    const std::string_view code = codes.substr(0, end);
    const std::string_view meaning = Find(kInvariants, code);
    StrAppend(&words, words.empty() ? "" : ", ", code,
              meaning.empty() ? "" : StrCat(" (", meaning, ")"));
    codes.remove_prefix(std::min(end + 1, codes.size()));
  }
  return words;
}

// "base swapped inside the drain (2022); there it broke I1 (...)"; empty for what QEMU never had.
std::string RaceInWords(std::string_view id) {
  const absl::Span<const Race> races = Races();
  const auto found =
      std::find_if(races.begin(), races.end(), [&](const Race& race) { return race.id == id; });
  if (found == races.end()) return "";
  return StrCat(found->name, " (", found->years, "); there it broke ",
                InvariantsInWords(found->invariants));
}

}  // namespace

std::string_view StoryOf(std::string_view scene) { return Find(kStories, scene); }

std::string_view CodeOf(const Failure& failure) {
  const std::optional<Words> code = InvariantNamedBy(failure);
  return code ? code->first : std::string_view();
}

std::string_view InvariantOf(const Failure& failure) {
  const std::optional<Words> code = InvariantNamedBy(failure);
  return code ? code->second : std::string_view();
}

std::vector<ReplayPageWord> RulesInWords() {
  std::vector<ReplayPageWord> rules = {
      {"I1, G1 ...",
       "numbers of rules: what must hold for users (I), the graph (G), jobs (J), and "
       "for whoever waits (O)"}};
  for (const auto& [code, meaning] : kInvariants) {
    const bool is_number = std::isupper(static_cast<unsigned char>(code.front())) != 0;
    if (is_number) rules.push_back({std::string(code), std::string(meaning)});
  }
  return rules;
}

std::string TitleOf(const Entry& entry) { return StrCat(entry.id, ": ", PlainTitleOf(entry)); }

std::string Explain(const Entry& entry, const Failure& failure) {
  const std::string race = RaceInWords(entry.race());
  std::string text = StrCat("The bug: ", PlainWordsOf(entry), ".",
                            race.empty() ? "" : StrCat("\nThe race in QEMU: ", race, "."),
                            "\nThe scene: ", StoryOf(entry.scene.name),
                            " Lane 'scene' is the user. n0 is a chain's lowest image.");
  if (const std::optional<Words> code = InvariantNamedBy(failure)) {
    StrAppend(&text, "\nWhat must hold (", code->first, "): ", code->second, ".");
  } else {
    StrAppend(&text, "\nWhat must hold: a condition that the code itself relies on.");
  }
  return text;
}

}  // namespace millrace::gallery
