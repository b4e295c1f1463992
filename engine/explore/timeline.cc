#include "millrace/engine/explore/timeline.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/recording_lanes.h"

namespace millrace {
namespace {

constexpr size_t kNumberWidth = 5;
constexpr size_t kTimeWidth = 12;
constexpr size_t kLaneWidthMin = 8;

// Text of notes may hold anything; a row is one line.
std::string LineBreaksAsSpaces(std::string_view text) {
  std::string line(text.substr(0, text.find('\n')));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return line;
}

std::string Fit(std::string text, size_t width) {
  if (text.size() > width) text = StrCat(text.substr(0, width - 2), "..");
  text.resize(width, ' ');
  return text;
}

std::string RightAligned(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

std::string NoteText(const RecordedNote& note) {
  if (note.kind == "failure")
    return StrCat("!! ", note.object, ": ", LineBreaksAsSpaces(note.text));
  return LineBreaksAsSpaces(StrCat(note.kind, note.object.empty() ? "" : " ", note.object,
                                   note.text.empty() ? "" : ": ", note.text));
}

class TimelineWriter {
 public:
  TimelineWriter(const Recording& recording, const TimelineOptions& options)
      : recording_(recording), lanes_(RecordingLanes::Of(recording)) {
    const size_t steps = recording.steps.size();
    end_ =
        recording.failure.signature.empty() ? steps : std::min(steps, FailedStepOf(recording) + 1);
    begin_ = end_ - std::min(end_, options.steps_max);
    FillRemarks();
    FillCells(std::max(options.lane_width_max, kLaneWidthMin));
  }

  std::string Write() const {
    std::string text = Row("#", "vtime", Head(), "notes");
    if (begin_ > 0) StrAppend(&text, "  (", begin_, " steps before)\n");
    for (size_t step = begin_; step < end_; ++step) {
      const std::vector<std::string>& remarks = remarks_[step];
      StrAppend(&text, Row(StrCat(step), DescribeVirtualTime(recording_.steps[step].time_ns),
                           Cells(step), remarks.empty() ? "" : remarks.front()));
      for (size_t i = 1; i < remarks.size(); ++i) {
        StrAppend(&text, Row("", "", std::vector<std::string>(widths_.size()), remarks[i]));
      }
    }
    if (recording_.is_cut_off) StrAppend(&text, "  (the recording ends here)\n");
    if (!recording_.failure.signature.empty()) {
      StrAppend(&text, "failed: ", recording_.failure.signature, ": ",
                LineBreaksAsSpaces(recording_.failure.text), "\n");
    }
    return text;
  }

 private:
  void FillRemarks() {
    remarks_.resize(std::max<size_t>(recording_.steps.size(), 1));
    is_deviation_.resize(remarks_.size());
    for (const RecordedChoice& choice : recording_.choices) {
      if (!choice.is_deviation() || choice.step >= remarks_.size()) continue;
      is_deviation_[choice.step] = true;
      remarks_[choice.step].push_back(StrCat("* ", LineBreaksAsSpaces(DescribeDeviation(choice))));
    }
    std::map<std::string, std::string> latest;  // snapshots, by kind
    for (const RecordedNote& note : recording_.notes) {
      // What begins and ends on disks is in their lane; only what fails is worth a row.
      if (note.step >= remarks_.size() || note.kind == "io") continue;
      if (!IsSnapshot(note)) {
        remarks_[note.step].push_back(NoteText(note));
      } else if (note.object != latest[note.kind]) {
        latest[note.kind] = note.object;
        remarks_[note.step].push_back(StrCat(note.kind, ": ", LineBreaksAsSpaces(note.object)));
      }
    }
  }

  void FillCells(size_t width_max) {
    for (const std::string& name : lanes_.names) widths_.push_back(name.size());
    for (size_t step = 0; step < recording_.steps.size(); ++step) {
      cells_.push_back(StrCat(LineBreaksAsSpaces(DescribeStep(recording_.steps[step].party)),
                              is_deviation_[step] ? " *" : ""));
      size_t& width = widths_[lanes_.of_step[step]];
      width = std::max(width, cells_.back().size());
    }
    for (size_t& width : widths_) width = std::min(width, width_max);
  }

  std::vector<std::string> Head() const { return lanes_.names; }
  std::vector<std::string> Cells(size_t step) const {
    std::vector<std::string> cells(widths_.size());
    cells[lanes_.of_step[step]] = cells_[step];
    return cells;
  }
  std::string Row(const std::string& number, const std::string& time,
                  const std::vector<std::string>& cells, const std::string& remark) const {
    std::string row = RightAligned(number, kNumberWidth) + RightAligned(time, kTimeWidth);
    for (size_t i = 0; i < cells.size(); ++i) StrAppend(&row, "  ", Fit(cells[i], widths_[i]));
    StrAppend(&row, "  ", remark);
    row.erase(row.find_last_not_of(' ') + 1);
    return row + "\n";
  }

  const Recording& recording_;
  const RecordingLanes lanes_;
  size_t begin_ = 0;
  size_t end_ = 0;
  std::vector<std::vector<std::string>> remarks_;  // by step
  std::vector<bool> is_deviation_;                 // by step
  std::vector<std::string> cells_;                 // by step
  std::vector<size_t> widths_;                     // by lane
};

// ---- Trace events --------------------------------------------------------------------------------

JsonWriter& BeginEvent(JsonWriter& json, std::string_view phase, std::string_view name,
                       size_t lane) {
  json.BeginObject().Key("ph").String(phase).Key("name").String(name);
  return json.Key("pid").Number(uint64_t{1}).Key("tid").Number(uint64_t{lane + 1});
}

void WriteLaneName(JsonWriter& json, const std::string& name, size_t lane) {
  BeginEvent(json, "M", "thread_name", lane).Key("args").BeginObject();
  json.Key("name").String(name).EndObject().EndObject();
}

void WriteInstant(JsonWriter& json, std::string_view category, const std::string& name, size_t lane,
                  size_t step) {
  BeginEvent(json, "i", name, lane).Key("cat").String(category).Key("s").String("t");
  json.Key("ts").Number(uint64_t{step}).EndObject();
}

}  // namespace

std::string TimelineText(const Recording& recording, const TimelineOptions& options) {
  return TimelineWriter(recording, options).Write();
}

std::string TimelineTraceJson(const Recording& recording) {
  const RecordingLanes lanes = RecordingLanes::Of(recording);
  JsonWriter json;
  json.BeginObject().Key("displayTimeUnit").String("ns").Key("traceEvents").BeginArray();
  for (size_t lane = 0; lane < lanes.names.size(); ++lane) {
    WriteLaneName(json, lanes.names[lane], lane);
  }
  for (size_t step = 0; step < recording.steps.size(); ++step) {
    const RecordedStep& each = recording.steps[step];
    BeginEvent(json, "X", DescribeStep(each.party), lanes.of_step[step]);
    json.Key("ts").Number(uint64_t{step}).Key("dur").Number(uint64_t{1}).Key("args").BeginObject();
    json.Key("step").Number(uint64_t{step}).Key("virtual_ns").Number(each.time_ns);
    json.Key("party").String(each.party.name).EndObject().EndObject();
  }
  auto lane_of = [&](size_t step) { return step < lanes.of_step.size() ? lanes.of_step[step] : 0; };
  for (const RecordedChoice& choice : recording.choices) {
    if (!choice.is_deviation()) continue;
    WriteInstant(json, "deviation", DescribeDeviation(choice), lane_of(choice.step), choice.step);
  }
  for (const RecordedNote& note : recording.notes) {
    const std::string name =
        IsSnapshot(note) ? StrCat(note.kind, ": ", note.object) : NoteText(note);
    WriteInstant(json, note.kind, name, lane_of(note.step), note.step);
  }
  json.EndArray().Key("otherData").BeginObject().Key("scenario").String(recording.scenario);
  json.Key("failure").String(recording.failure.signature).EndObject().EndObject();
  return json.Take();
}

}  // namespace millrace
