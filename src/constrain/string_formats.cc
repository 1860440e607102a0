// The strings that `format` names, as patterns. Dates are real days of the years 1000 to 9999.
#include <string>
#include <vector>

#include "constrain/pattern.h"

namespace upg::constrain {
namespace {

struct Format {
  std::string_view name;
  std::string pattern;
};

std::vector<Format> make_formats() {
  const std::string month_day =
      "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|"
      "02-(0[1-9]|1\\d|2[0-8]))";
  const std::string leap_year =
      "([1-9]\\d(0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)";
  const std::string date = "([1-9]\\d{3}-" + month_day + "|" + leap_year + "-02-29)";
  const std::string clock = "([01]\\d|2[0-3]):[0-5]\\d";
  const std::string time = clock + ":[0-5]\\d(\\.\\d{1,6})?(Z|[+-]" + clock + ")";
  const std::string n = "\\d{1,9}";
  const std::string of_day = "(T(" + n + "H)?(" + n + "M)?" + n + "S)?";
  const std::string octet = "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)";
  const std::string name = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
  const std::string host = name + "(\\." + name + "){0,3}";
  const std::string word = "[A-Za-z0-9_+-]{1,30}";
  const std::string h = "[0-9A-Fa-f]{1,4}";
  const std::string hex = "[0-9a-fA-F]";
  const std::string uri_text = "([A-Za-z0-9._~:/?@!$&'()*+,;=-]|%" + hex + "{2})";
  return {
      {"date", "^" + date + "$"},
      {"time", "^" + time + "$"},
      {"date-time", "^" + date + "T" + time + "$"},
      {"duration", "^P(" + n + "W|(" + n + "Y)?(" + n + "M)?" + n + "D" + of_day + "|T(" + n +
                       "H)?(" + n + "M)?" + n + "S|T" + n + "H(" + n + "M)?|T" + n + "M)$"},
      {"uuid", "^" + hex + "{8}-(" + hex + "{4}-){3}" + hex + "{12}$"},
      {"ipv4", "^" + octet + "(\\." + octet + "){3}$"},
      {"ipv6", "^((" + h + ":){7}" + h + "|::(" + h + "(:" + h + "){0,6})?|" + h + "(:" + h +
                   "){0,2}::(" + h + "(:" + h + "){0,2})?)$"},
      {"hostname", "^" + host + "$"},
      {"email", "^" + word + "(\\." + word + ")?@(" + name + "\\.){1,3}[A-Za-z]{2,10}$"},
      {"uri", "^[A-Za-z][A-Za-z0-9+.-]{0,20}:" + uri_text + "{1,400}(#" + uri_text + "{0,200})?$"},
  };
}

}  // namespace

std::string_view pattern_of_format(std::string_view format) noexcept {
  static const std::vector<Format> formats = make_formats();
  for (const Format& known : formats) {
    if (known.name == format) return known.pattern;
  }
  return {};
}

}  // namespace upg::constrain
