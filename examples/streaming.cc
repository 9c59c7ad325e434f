// Captions a picture by beam search while one watches, until Ctrl-C: streaming MODEL.lcw PICTURE
//
// With several beams the best caption may become another one, so each step shows all of it. The
// first Ctrl-C ends the caption, from the signal handler itself; the program goes on from there.
// At the end come the alternatives and what each token was worth.
#include <csignal>
#include <cstdio>
#include <lightcap.hpp>

namespace {

lightcap::Cancel* cancel = nullptr;

void on_interrupt(int) {
  cancel->raise();
  std::signal(SIGINT, SIG_DFL);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.lcw PICTURE\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  try {
    lightcap::Cancel interrupted;
    cancel = &interrupted;
    std::signal(SIGINT, on_interrupt);

    const lightcap::Model model(argv[1]);
    lightcap::Session session(model);
    lightcap_caption_options options = LIGHTCAP_CAPTION_OPTIONS_INIT;
    options.beams = 3;
    options.cancel = interrupted.get();
    auto show = [](uint32_t, const char* text) {
      std::printf("... %s\n", text);
      return LIGHTCAP_GO_ON;
    };
    lightcap::set_on_token(options, show);
    const lightcap_result result = session.caption_file(argv[2], &options);
    for (const lightcap_hypothesis& found : lightcap::hypotheses(result)) {
      std::printf("%.3f %s\n", found.score, found.caption);
    }
    return 0;
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
