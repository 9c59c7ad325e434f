// Captions a picture with words that must come: must_contain MODEL.lcw PICTURE 'WORD|FORM...'...
//
// A session plans its memory when it opens, so the words come first: they say how many states
// (sets of words that a caption may have so far) the search has to keep apart. Sessions and words
// are independent otherwise: other words of as many states may follow in the same session.
#include <cstdio>
#include <lightcap.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> forms;
  std::istringstream stream(text);
  for (std::string form; std::getline(stream, form, '|');) forms.push_back(form);
  return forms;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s MODEL.lcw PICTURE 'WORD|FORM...'...\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  try {
    const lightcap::Model model(argv[1]);
    lightcap::Constraints words(model);
    for (int i = 3; i < argc; ++i) words.add(split(argv[i]));

    lightcap_session_options room = LIGHTCAP_SESSION_OPTIONS_INIT;
    room.max_states = words.states();
    lightcap::Session session(model, &room);

    lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
    options.beams = 5;
    options.constraints = words.get();
    const lightcap_result result = session.caption_file(argv[2], &options);
    std::printf("%s\n", result.caption);
    for (int i = 3; i < argc; ++i) {
      std::printf("'%s' came as '%s'\n", argv[i], words.found(static_cast<size_t>(i - 3), result));
    }
    return 0;
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
