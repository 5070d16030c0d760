(ns jepsen.quorate.net
  "Partitions with nftables, on either remote: a table `jepsen` on the node that shall not hear."
  (:require [clojure.string :as str]
            [jepsen.control :as c]
            [jepsen.net.proto :as p]))

(defn address [test node] (get (:addresses test) node node))

(defn- nft! [& words] (apply c/exec :nft words))

(defn- table! []
  (nft! :add :table :inet :jepsen)
  (nft! :add :chain :inet :jepsen :input (c/lit "'{ type filter hook input priority 0; }'"))
  (nft! :add :chain :inet :jepsen :output (c/lit "'{ type filter hook output priority 0; }'")))

(defn snub!
  "The current node does not hear these addresses any more."
  [addresses]
  (when (seq addresses)
    (table!)
    (nft! :add :rule :inet :jepsen :input :ip :saddr (c/lit (str "'{ " (str/join ", " addresses) " }'")) :drop)))

(defn cut-port!
  "What the current node sends to a port of an address is lost."
  [address port]
  (table!)
  (nft! :add :rule :inet :jepsen :output :ip :daddr address :tcp :dport port :drop))

(defn mend! "The current node hears and reaches everything again." []
  (table!)
  (nft! :delete :table :inet :jepsen))

(defn nftables
  "A Net that cuts; it does not slow or lose, for the kernel may have no netem."
  []
  (reify
    p/Net
    (drop! [_ test src dest]
      (c/on-nodes test [dest] (fn [test _] (snub! [(address test src)]))))
    (heal! [_ test]
      (c/on-nodes test (fn [_ _] (mend!))))
    (slow! [_ _test] (throw (UnsupportedOperationException. "slow!")))
    (slow! [_ _test _opts] (throw (UnsupportedOperationException. "slow!")))
    (flaky! [_ _test] (throw (UnsupportedOperationException. "flaky!")))
    (fast! [_ _test] nil)
    (shape! [_ _test _nodes _behavior] (throw (UnsupportedOperationException. "shape!")))

    p/PartitionAll
    (drop-all! [_ test grudge]
      (c/on-nodes test (keys grudge)
                  (fn [test node] (snub! (map #(address test %) (get grudge node))))))))
