#include "millrace/engine/explore/replay_page.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "millrace/engine/base/json_writer.h"
#include "millrace/engine/base/text.h"
#include "millrace/engine/explore/recording_lanes.h"
#include "millrace/engine/explore/replay_page_parts.h"
#include "millrace/engine/explore/timeline.h"

namespace millrace {
namespace {

std::string HtmlEscaped(std::string_view text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped.push_back(c);
    }
  }
  return escaped;
}

// JSON inside a <script> element ends where "</script" or "<!--" begins. '<' occurs within strings
// only, where it may be written as an escape.
std::string ScriptSafe(std::string_view json) {
  std::string safe;
  for (char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe.push_back(c);
    }
  }
  return safe;
}

void WriteStrings(JsonWriter& json, std::string_view key, const std::vector<std::string>& values) {
  json.Key(key).BeginArray();
  for (const std::string& each : values) json.String(each);
  json.EndArray();
}

void WriteSteps(JsonWriter& json, const Recording& recording, const RecordingLanes& lanes) {
  json.Key("steps").BeginArray();
  for (size_t i = 0; i < recording.steps.size(); ++i) {
    const RecordedStep& step = recording.steps[i];
    json.BeginObject().Key("lane").Number(uint64_t{lanes.of_step[i]});
    json.Key("party").String(step.party.name).Key("from").String(step.party.detail);
    json.Key("kind").String(PartyKindName(step.party));
    json.Key("ns").Number(step.time_ns).EndObject();
  }
  json.EndArray();
}

void WriteDeviations(JsonWriter& json, const Recording& recording) {
  json.Key("deviations").BeginArray();
  for (const RecordedChoice& choice : recording.choices) {
    if (!choice.is_deviation()) continue;
    json.BeginObject().Key("step").Number(uint64_t{choice.step});
    json.Key("choice").Number(choice.ordinal).Key("of").Number(uint64_t{choice.options.size()});
    json.Key("text").String(DescribeDeviation(choice)).EndObject();
  }
  json.EndArray();
}

// Snapshots are noted after every step, and most are equal to the one before: each is kept once,
// as a string, because its JSON is the caller's.
void WriteNotes(JsonWriter& json, const Recording& recording) {
  std::map<std::string, uint64_t> index_of;
  std::vector<std::string> snapshots;
  std::map<std::string, uint64_t> latest;  // by kind
  json.Key("notes").BeginArray();
  for (const RecordedNote& note : recording.notes) {
    std::optional<uint64_t> snapshot;
    if (IsSnapshot(note)) {
      const auto [found, is_new] = index_of.try_emplace(note.text, snapshots.size());
      if (is_new) snapshots.push_back(note.text);
      const auto [known, is_first] = latest.try_emplace(note.kind, found->second);
      if (!is_first && std::exchange(known->second, found->second) == found->second) continue;
      snapshot = found->second;
    }
    json.BeginObject().Key("step").Number(uint64_t{note.step}).Key("kind").String(note.kind);
    json.Key("object").String(note.object);
    if (snapshot) {
      json.Key("snapshot").Number(*snapshot);
    } else {
      json.Key("text").String(note.text);
    }
    json.EndObject();
  }
  json.EndArray();
  WriteStrings(json, "snapshots", snapshots);
}

void WriteWords(JsonWriter& json, const std::vector<ReplayPageWord>& words) {
  json.Key("words").BeginArray();
  for (const ReplayPageWord& each : words) {
    json.BeginObject().Key("word").String(each.word);
    json.Key("meaning").String(each.meaning).EndObject();
  }
  json.EndArray();
}

std::string DataJson(const Recording& recording, const ReplayPageOptions& options) {
  const RecordingLanes lanes = RecordingLanes::Of(recording);
  JsonWriter json;
  json.BeginObject().Key("scenario").String(recording.scenario);
  json.Key("verdict").String(options.verdict);
  json.Key("explanation").String(options.explanation).Key("replay").String(options.replay_line);
  json.Key("signature").String(recording.failure.signature);
  json.Key("text").String(recording.failure.text);
  json.Key("failedStep").Number(uint64_t{FailedStepOf(recording)});
  json.Key("isCutOff").Bool(recording.is_cut_off);
  WriteWords(json, options.words);
  WriteStrings(json, "lanes", lanes.names);
  WriteSteps(json, recording, lanes);
  WriteDeviations(json, recording);
  WriteNotes(json, recording);
  return json.EndObject().Take();
}

}  // namespace

std::string ReplayPage(const Recording& recording, const ReplayPageOptions& options) {
  const std::string title = HtmlEscaped(options.title.empty() ? recording.scenario : options.title);
  // The policy makes the browser refuse what the page promises not to do.
  return StrCat(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>",
      title, "</title>\n<style>", kReplayPageStyle, "</style>\n</head>\n<body>\n<header><h1>",
      title, "</h1>", kReplayPageBody, "<noscript><pre>", HtmlEscaped(TimelineText(recording)),
      "</pre></noscript>\n<script type=\"application/json\" id=\"recording\">",
      ScriptSafe(DataJson(recording, options)), "</script>\n<script>", kReplayPageChangesScript,
      kReplayPageRecordingScript, kReplayPageMomentsScript, kReplayPageLayoutScript,
      kReplayPageGraphScript, kReplayPageScript, "</script>\n</body>\n</html>\n");
}

}  // namespace millrace
