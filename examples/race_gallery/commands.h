// What race_gallery's command line says, done.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_COMMANDS_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_COMMANDS_H_

#include <string>
#include <string_view>
#include <vector>

namespace millrace::gallery {

// Prints, and returns the exit status: 0 done, 1 a mutant survived or the fixed engine failed, 2
// the command line was not understood.
int RunCommand(const std::vector<std::string_view>& arguments);

// The gallery as a table in Markdown, for RACES.md.
std::string GalleryTable();

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_COMMANDS_H_
