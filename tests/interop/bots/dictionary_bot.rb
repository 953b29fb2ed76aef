# A bot as people write them with xmpp4r: logs in, keeps a roster, answers a word by its definition.
# Usage: dictionary_bot.rb JID PASSWORD HOST PORT CERTIFICATE. Prints "online" when it can be asked.

require "openssl"
require "xmpp4r"
require "xmpp4r/roster"

DEFINITIONS = {
  "hearth" => "the floor of a fireplace; the home",
  "stanza" => "a group of lines of a poem",
}

Thread.abort_on_exception = true
jid, password, host, port, certificate = ARGV

client = Jabber::Client.new(Jabber::JID.new(jid))
client.ssl_capath = File.dirname(certificate) # turns verification on
trusted = OpenSSL::X509::Certificate.new(File.read(certificate))
client.ssl_verifycb = ->(_ok, store) { store.current_cert.to_der == trusted.to_der }
client.connect(host, port.to_i)
abort "no TLS" unless client.is_tls?
client.auth(password)

roster = Jabber::Roster::Helper.new(client)
roster.wait_for_roster
roster.add_subscription_request_callback do |item, presence|
  roster.accept_subscription(presence.from)
end

client.add_message_callback do |message|
  next if message.type == :error || message.body.nil?

  word = message.body.strip.downcase
  reply = Jabber::Message.new(message.from, DEFINITIONS.fetch(word, "#{word}: no such word"))
  reply.type = message.type
  client.send(reply)
end

client.send(Jabber::Presence.new.set_status("Ask me a word"))
puts "online #{client.jid} #{roster.items.keys.map(&:to_s).sort.join(' ')}"
$stdout.flush
Thread.stop
