// JsonWriter: writes JSON text, value by value. The library's only JSON; it parses none.
//
//   JsonWriter json;
//   json.BeginObject().Key("name").String("drive0").Key("bytes").Number(uint64_t{512}).EndObject();
//   std::string text = json.Take();  // {"name": "drive0", "bytes": 512}
//
// Text that is not UTF-8 is repaired (U+FFFD for each bad byte), so what comes out is always JSON.
// Values out of place (a value in an object without its key, an end without its begin) are our bug
// and checked. Plain data; any thread.
#ifndef MILLRACE_ENGINE_BASE_JSON_WRITER_H_
#define MILLRACE_ENGINE_BASE_JSON_WRITER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

class JsonWriter {
 public:
  JsonWriter() = default;

  JsonWriter& BeginObject() { return Begin('{'); }
  JsonWriter& EndObject() { return End('}'); }
  JsonWriter& BeginArray() { return Begin('['); }
  JsonWriter& EndArray() { return End(']'); }
  // Names the next value of an object.
  JsonWriter& Key(std::string_view key);

  JsonWriter& String(std::string_view text);
  JsonWriter& Number(uint64_t number);
  JsonWriter& Number(int64_t number);
  JsonWriter& Bool(bool value);
  JsonWriter& Null();

  // The text, once every object and array is ended (checked). The writer is empty afterwards.
  std::string Take();

 private:
  struct Level {
    char end;
    bool is_empty = true;
  };
  JsonWriter& Begin(char kind);
  JsonWriter& End(char kind);
  void BeforeValue();

  std::string text_;
  std::vector<Level> levels_;
  bool has_key_ = false;
};

// `text` as a JSON string, quotes included.
std::string JsonString(std::string_view text);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_JSON_WRITER_H_
