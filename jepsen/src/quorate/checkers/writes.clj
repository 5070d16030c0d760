(ns quorate.checkers.writes
  "Invariant 2: every provider write names a committed intent; its sender was confirmed leader after that intent was
  committed.

  The witness knows who sent what and when; the nemesis knows who was cut off from every quorum. Whoever was cut off for
  longer than a leader's lease cannot have been confirmed, whatever it believed."
  (:require [quorate.history :as h]))

(defn- intents [history switches-of {{:keys [service epoch values outcome]} :value}]
  (let [{:keys [cluster]} (h/setup history)
        switches (switches-of service)
        switch (get switches epoch)
        wanted (set (get-in (h/services history) [service :values (:to switch)]))]
    (cond
      (empty? switches) []
      ;; The values go first, under the old fence or under none yet.
      (= :half outcome)
      (when (not-any? #(= (set (get-in (h/services history) [service :values (:to %)])) (set values))
                      (vals switches))
        [(str service ": values " (vec values) " were published that no intent has")])
      (nil? epoch) [(str service ": a write without a fence" (when cluster (str " of " cluster)))]
      (and (nil? switch) (or (> epoch (apply max (keys switches))) (h/told? history service epoch)))
      [(str service ": a write names epoch " epoch ", which no intent has")]
      (nil? switch) []
      ;; What was refused carried the values of its own intent all the same.
      (not= wanted (set values))
      [(str service ": a write of epoch " epoch " wants " (vec values) ", its intent " (vec wanted))]
      :else [])))

(defn- cut-off [history isolated-of write]
  (let [{:keys [lease-ms slack-ms]} (h/setup history)
        sender (get-in write [:value :from])
        at (or (get-in write [:value :arrived]) (:time write))
        since (- at (h/ms->ns (+ lease-ms slack-ms)))]
    (when (and sender (h/covers? (isolated-of sender) since at))
      [(str "node " sender " wrote epoch " (get-in write [:value :epoch]) " of " (get-in write [:value :service])
            " at " (h/ms at) " ms, cut off from every quorum for more than " (+ lease-ms slack-ms) " ms")])))

(defn- too-early
  "A manual switch cannot be written before anybody asked for it."
  [history]
  (let [asked (into {} (for [op (h/pairs history)
                             :let [done (:completed op)]
                             :when (and (= :switch (:f op)) (= :ok (:type done)))]
                         [[(get-in done [:value :service]) (get-in done [:value :epoch])] (:time op)]))]
    (for [{:keys [time] {:keys [service epoch arrived]} :value} (h/writes history)
          :let [begun (get asked [service epoch])
                at (or arrived time)]
          :when (and begun (< at begun))]
      (str service ": epoch " epoch " was written " (h/ms (- begun at)) " ms before it was asked for"))))

(defn check [history]
  (let [switches-of (memoize #(h/switches history %))
        isolated-of (memoize #(vec (h/node-spans history % [:isolated])))
        writes (h/writes history)]
    (h/verdict 2 (distinct (concat (mapcat #(intents history switches-of %) writes)
                                   (mapcat #(cut-off history isolated-of %) writes)
                                   (too-early history))))))
