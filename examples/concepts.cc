// Prints what the model saw, and where: concepts MODEL.lcw PICTURE
//
// Each concept has a label, its similarity to the picture's part, the detector's score and a box in
// pixels of the upright picture. lightcap.hpp closes handles by itself and throws
// lightcap::Error.
#include <cstdio>
#include <lightcap.hpp>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL.lcw PICTURE\n", argv[0]);
    return LIGHTCAP_ERROR_USAGE;
  }
  try {
    const lightcap::Model model(argv[1]);
    lightcap::Session session(model);
    const lightcap_result result = session.caption_file(argv[2]);
    std::printf("%s\n", result.caption);
    for (const lightcap_concept& found : lightcap::concepts(result)) {
      const float* box = found.box;
      std::printf("%-20s similarity %.2f, score %.2f, box %.0f %.0f %.0f %.0f\n", found.label,
                  static_cast<double>(found.similarity), static_cast<double>(found.score),
                  static_cast<double>(box[0]), static_cast<double>(box[1]),
                  static_cast<double>(box[2]), static_cast<double>(box[3]));
    }
    return 0;
  } catch (const lightcap::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.status();
  }
}
