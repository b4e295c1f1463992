#include "millrace/engine/explore/guided.h"

#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/party.h"

namespace millrace {

bool Guided::BeginRun() {
  const uint64_t run_seed = SeedOfRun(name(), seed_, runs_++);
  random_ = RandomStream(run_seed, "schedule");
  others_.BeginRun(run_seed);
  taken_.clear();
  plan_.clear();
  new_pairs_ = 0;
  last_party_ = 0;
  if (!corpus_.empty() && !random_.OneIn(8)) Mutate();
  return true;
}

void Guided::Mutate() {
  plan_ = corpus_[random_.Below(corpus_.size())];
  if (plan_.empty()) return;
  if (random_.OneIn(4)) {  // the beginning of one, the rest of another
    const std::vector<uint16_t>& other = corpus_[random_.Below(corpus_.size())];
    const size_t cut = random_.Below(plan_.size());
    plan_.resize(cut);
    if (cut < other.size())
      plan_.insert(plan_.end(), other.begin() + static_cast<ptrdiff_t>(cut), other.end());
    return;
  }
  for (uint64_t changes = random_.Below(4); changes > 0; --changes) {
    plan_[random_.Below(plan_.size())] = static_cast<uint16_t>(random_.Below(4));
  }
  if (!random_.OneIn(3)) plan_.resize(random_.Below(plan_.size()) + 1);
}

size_t Guided::Pick(ChoiceKind kind, absl::Span<const Option> options) {
  size_t taken = 0;
  const bool is_planned = taken_.size() < plan_.size() && plan_[taken_.size()] < options.size();
  // A changed plan may have moved an index to a choice of another kind, where none is wanted.
  if (is_planned && others_.MayDeviate(kind)) {
    taken = plan_[taken_.size()];
  } else if (kind == ChoiceKind::kStep) {
    taken = random_.Below(options.size());
  } else {
    taken = others_.Pick(kind, options);
  }
  taken_.push_back(static_cast<uint16_t>(taken));
  return taken;
}

void Guided::OnStep(const Option& step) {
  const uint64_t party = PartyOf(step);
  const uint64_t place = PlaceOf(step);
  if (last_party_ != 0 && last_party_ != party) {
    const uint64_t pair = Mix(last_place_, place) % kPairBits;
    uint64_t& word = pairs_seen_[pair / 64];
    const uint64_t bit = uint64_t{1} << (pair % 64);
    if ((word & bit) == 0) {
      word |= bit;
      ++new_pairs_;
    }
  }
  last_party_ = party;
  last_place_ = place;
}

void Guided::EndRun(const RunSummary&) {
  if (new_pairs_ == 0) return;
  pairs_ += new_pairs_;
  if (corpus_.size() < kCorpusMax) {
    corpus_.push_back(taken_);
  } else {
    corpus_[random_.Below(kCorpusMax)] = taken_;
  }
}

std::string Guided::Progress() const {
  return StrCat(pairs_, " pairs of steps met, ", corpus_.size(), " schedules kept");
}

}  // namespace millrace
