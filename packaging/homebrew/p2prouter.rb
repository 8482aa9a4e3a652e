# For a tap: brew install p2prouter/tap/p2prouter
class P2prouter < Formula
  desc "Run commands on a machine behind NAT, and drive it over the internet"
  homepage "https://github.com/p2prouter/p2prouter"
  url "https://github.com/p2prouter/p2prouter.git", tag: "v0.1.0"
  license "MIT"
  head "https://github.com/p2prouter/p2prouter.git", branch: "main"

  depends_on "rust" => :build

  def install
    programs = OS.linux? ? %w[console router inner] : %w[console]
    programs.each do |name|
      system "cargo", "install", *std_cargo_args(path: "crates/#{name}"),
             *(name == "router" ? ["--features", "mesh"] : [])
      generate_completions_from_executable(bin/"p2p-#{name}", "completions")
      (man1/"p2p-#{name}.1").write Utils.safe_popen_read(bin/"p2p-#{name}", "man")
    end
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/p2p-console --version")
    # Nothing answers there.
    shell_output("#{bin}/p2p-console --router 127.0.0.1:1 list 2>&1", 3)
  end
end
