#include "examples/hypervisor/introspect/trace_recorder.h"

#include <algorithm>
#include <utility>

#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/job/job_state.h"

namespace millrace {
namespace {

constexpr int kCommandTrack = 1;
constexpr int kStepTrack = 2;

std::string TrackName(int track, std::string_view name) {
  return StrCat(R"({"name":"thread_name","ph":"M","pid":1,"tid":)", track, R"(,"args":{"name":)",
                JsonString(name), "}}");
}

std::string Argument(std::string_view key, std::string_view value) {
  return StrCat(JsonString(key), ":", JsonString(value));
}

}  // namespace

void TraceRecorder::Start(size_t bytes_max) {
  is_on_ = true;
  bytes_max_ = bytes_max;
  text_ = StrCat(R"({"traceEvents":[)", TrackName(kCommandTrack, "commands"), ",",
                 TrackName(kStepTrack, "steps"));
  events_ = dropped_ = io_count_ = 0;
  started_at_ = clock_.Now();
  jobs_.clear();
  command_.clear();
}

std::string TraceRecorder::Stop() {
  const Nanoseconds now = clock_.Now();
  while (!jobs_.empty()) EndJobState(std::string(jobs_.begin()->first), now);
  is_on_ = false;
  StrAppend(&text_, R"(],"displayTimeUnit":"ms","otherData":{"dropped":)", dropped_, "}}");
  return std::exchange(text_, std::string());
}

std::string TraceRecorder::Micros(Nanoseconds time) const {
  const Nanoseconds passed = std::max<Nanoseconds>(0, time - started_at_);
  std::string fraction = StrCat(passed % 1000);
  fraction.insert(0, 3 - fraction.size(), '0');
  return StrCat(passed / 1000, ".", fraction);
}

void TraceRecorder::Add(std::string event) {
  if (text_.size() + event.size() + 1 > bytes_max_) {
    ++dropped_;
    return;
  }
  StrAppend(&text_, ",", event);
  ++events_;
}

void TraceRecorder::AddOnTrack(int track, std::string_view category, std::string_view name,
                               Nanoseconds begin, Nanoseconds end, const std::string& arguments) {
  const Nanoseconds start = std::max(begin, started_at_);
  Add(StrCat(R"({"name":)", JsonString(name), R"(,"cat":)", JsonString(category),
             R"(,"ph":"X","pid":1,"tid":)", track, R"(,"ts":)", Micros(start), R"(,"dur":)",
             Micros(started_at_ + std::max<Nanoseconds>(0, end - start)), R"(,"args":{)", arguments,
             "}}"));
}

void TraceRecorder::AddAsync(std::string_view track, std::string_view id, std::string_view name,
                             Nanoseconds begin, Nanoseconds end, const std::string& arguments) {
  const std::string common =
      StrCat(R"({"name":)", JsonString(name), R"(,"cat":)", JsonString(track), R"(,"id":)",
             JsonString(id), R"(,"pid":1,"tid":)", kStepTrack);
  // Both in one piece, so that the limit never parts them.
  Add(StrCat(common, R"(,"ph":"b","ts":)", Micros(begin), R"(,"args":{)", arguments, "}},", common,
             R"(,"ph":"e","ts":)", Micros(std::max(begin, end)), "}"));
}

void TraceRecorder::OnSpan(const TimelineSpan& span) {
  if (!is_on_) return;
  switch (span.kind) {
    case TimelineSpan::Kind::kStep:
      return AddOnTrack(kStepTrack, "step", span.name, span.begin, span.end,
                        Argument("from", span.detail));
    case TimelineSpan::Kind::kIo:
      return AddAsync("io", StrCat("io", ++io_count_), StrCat(span.detail, " ", span.name),
                      span.begin, span.end,
                      StrCat(R"("offset":)", span.offset, R"(,"bytes":)", span.bytes,
                             R"(,"result":)", span.result));
    case TimelineSpan::Kind::kDrainPending:
      return AddAsync("drain", StrCat("drain", span.id), StrCat("wait: ", span.name), span.begin,
                      span.end, Argument("nodes", span.detail));
    case TimelineSpan::Kind::kDrained:
      return AddAsync("drain", StrCat("drain", span.id), StrCat("drained by ", span.name),
                      span.begin, span.end, Argument("nodes", span.detail));
  }
}

void TraceRecorder::EndJobState(const std::string& id, Nanoseconds now) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  AddAsync("job", id, StrCat(id, ": ", found->second.state), found->second.since, now, "");
  jobs_.erase(found);
}

void TraceRecorder::OnJobEvent(const JobEvent& event) {
  if (!is_on_ || event.kind != JobEventKind::kStatusChange) return;
  const Nanoseconds now = clock_.Now();
  EndJobState(event.id, now);
  if (event.state != JobState::kNull) {
    jobs_[event.id] = {std::string(JobStateName(event.state)), now};
  }
}

void TraceRecorder::OnCommand(std::string_view name, bool is_beginning) {
  if (!is_on_) return;
  if (is_beginning) {
    command_ = name;
    command_since_ = clock_.Now();
  } else if (!command_.empty()) {
    AddOnTrack(kCommandTrack, "command", command_, command_since_, clock_.Now(), "");
    command_.clear();
  }
}

}  // namespace millrace
