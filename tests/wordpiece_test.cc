#include "engine/text/wordpiece.h"

#include <gtest/gtest.h>

#include "engine/runtime/error.h"
#include "engine/text/unicode.h"

namespace lightcap::internal {
namespace {

using Ids = std::vector<uint32_t>;

const std::vector<std::string_view> kVocabulary = {
    "[PAD]", "[UNK]",    "[CLS]", "[SEP]", "[MASK]", "a",  "dog", "##s", "play",
    "##ing", "##ground", ".",     ",",     "!",      "?",  "'",   "s",   "can",
    "n",     "t",        "cafe",  "стол",  "ω",      "中", "国",  "it",  "don",
    "re",    "they",     "##.",   "uber",  "-",      "x",  "ve",  "m",   "i"};

std::string decoded(const WordPiece& pieces, const Ids& ids) {
  std::string text;
  pieces.decode(ids.data(), ids.size(), text);
  return text;
}

TEST(WordPiece, EncodesGreedily) {
  const WordPiece pieces(kVocabulary);
  EXPECT_EQ(pieces.encode("dogs"), (Ids{6, 7}));
  EXPECT_EQ(pieces.encode("A dog playing"), (Ids{5, 6, 8, 9}));
  EXPECT_EQ(pieces.encode("playground."), (Ids{8, 10, 11}));
  EXPECT_EQ(pieces.encode("cat"), (Ids{1}));     // [UNK]
  EXPECT_EQ(pieces.encode("dogcat"), (Ids{1}));  // begins well, ends on nothing
  EXPECT_EQ(pieces.encode("dog-dog"), (Ids{6, 31, 6}));
  EXPECT_EQ(pieces.encode(""), Ids{});
  EXPECT_EQ(pieces.encode(" \t\n"), Ids{});
  EXPECT_EQ(pieces.encode(std::string(101, 'x')), (Ids{1}));
}

TEST(WordPiece, NormalizesAsBertUncased) {
  const WordPiece pieces(kVocabulary);
  EXPECT_EQ(pieces.encode("CAFÉ"), (Ids{20}));
  EXPECT_EQ(pieces.encode("cafe\xcc\x81"), (Ids{20}));  // combining acute
  EXPECT_EQ(pieces.encode("Über"), (Ids{30}));
  EXPECT_EQ(pieces.encode("СТОЛ"), (Ids{21}));
  EXPECT_EQ(pieces.encode("Ώ"), (Ids{22}));
  EXPECT_EQ(pieces.encode("中国"), (Ids{23, 24}));        // each ideograph a word
  EXPECT_EQ(pieces.encode("do\xe2\x80\x8bg"), (Ids{6}));  // zero-width space
  EXPECT_EQ(pieces.encode("a\xc2\xa0"
                          "dog"),
            (Ids{5, 6}));                             // no-break space
  EXPECT_EQ(pieces.encode("dog\xff\xfe"), (Ids{6}));  // no UTF-8
  EXPECT_EQ(pieces.encode("\xe4\xb8"), Ids{});        // cut short
}

TEST(WordPiece, DecodesWithSpacesAsWritten) {
  const WordPiece pieces(kVocabulary);
  EXPECT_EQ(decoded(pieces, {2, 5, 6, 7, 8, 9, 11, 3}), "a dogs playing.");
  EXPECT_EQ(decoded(pieces, {6, 12, 6, 13, 6, 14}), "dog, dog! dog?");
  EXPECT_EQ(decoded(pieces, {25, 15, 16, 5, 6}), "it's a dog");
  EXPECT_EQ(decoded(pieces, {26, 15, 19, 8}), "don't play");
  EXPECT_EQ(decoded(pieces, {17, 18, 15, 19, 8}), "cann't play");  // n't closes its space
  EXPECT_EQ(decoded(pieces, {28, 15, 27, 8, 9}), "they're playing");
  EXPECT_EQ(decoded(pieces, {35, 15, 34, 5, 6}), "i'm a dog");
  EXPECT_EQ(decoded(pieces, {28, 15, 33, 5, 6}), "they've a dog");
  EXPECT_EQ(decoded(pieces, {6, 11, 7}), "dog .s");  // not a mark but a word that begins so
  EXPECT_EQ(decoded(pieces, {0, 1, 4, 3, 2}), "");
  EXPECT_EQ(decoded(pieces, {}), "");
  EXPECT_EQ(decoded(pieces, {6, 4000000000u, 7}), "dogs");  // an id beyond the vocabulary
}

TEST(WordPiece, DecodingStaysInsideTheRoomItNames) {
  const WordPiece pieces(kVocabulary);
  const Ids ids(50, 10);
  std::string text;
  text.reserve(ids.size() * (pieces.longest_token() + 1));
  const char* place = text.data();
  pieces.decode(ids.data(), ids.size(), text);
  EXPECT_EQ(text.data(), place);
}

TEST(WordPiece, MissingSpecialTokenIsNamed) {
  try {
    const WordPiece pieces({"[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("[MASK]"), std::string::npos);
  }
}

// Python's lower() and NFD without its marks.
TEST(Unicode, LettersAreFolded) {
  constexpr std::u32string_view kFolded[] = {U"Ǽæ", U"Ǿø", U"Ǯʒ", U"Ɛɛ", U"Ʃʃ",  U"ẞß", U"Əə",
                                             U"Ęe", U"Łł", U"ŐO", U"Øø", U"Ђђ",  U"Ӵч", U"Ϋυ",
                                             U"Ώω", U"ΣΣ", U"ßß", U"ππ", U"字字"};
  for (const std::u32string_view pair : kFolded) {
    EXPECT_EQ(fold_letter(pair[0]), fold_letter(pair[1])) << std::hex << uint32_t{pair[0]};
  }
  EXPECT_EQ(fold_letter(U'Ǽ'), U'æ');
  EXPECT_EQ(fold_letter(U'\u0301'), 0u);
}

TEST(Unicode, CodePointsSurviveTheRoundTrip) {
  for (const char32_t c :
       {0x1u, 0x7fu, 0x80u, 0x7ffu, 0x800u, 0xd7ffu, 0xe000u, 0xffffu, 0x10000u, 0x10ffffu}) {
    std::string text;
    append_utf8(c, text);
    size_t at = 0;
    EXPECT_EQ(next_code_point(text, at), c);
    EXPECT_EQ(at, text.size());
  }
}

TEST(Unicode, MalformedBytesAreReplaced) {
  for (const std::string_view text : {"\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80", "\xf8", "\xe4\xb8"}) {
    size_t at = 0;
    EXPECT_EQ(next_code_point(text, at), 0xfffdu);
    EXPECT_EQ(at, 1u);
  }
}

}  // namespace
}  // namespace lightcap::internal
